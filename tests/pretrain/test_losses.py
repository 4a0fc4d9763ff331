"""The loss against the published formulas, written out in float64."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax

pytest.importorskip("lightly")

from stellarssl.pretrain.losses import DINOv2Loss

N, K, STUDENT, TEACHER = 6, 11, 0.1, 0.05


def logits(*shape, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (*shape, K))


def balanced_by_hand(values, temperature):
    """Sinkhorn-Knopp (Caron et al. 2020): equal mass to every prototype, then to every sample."""
    share = np.exp(values / temperature)
    for _ in range(3):
        share = share / share.sum(0, keepdims=True) / share.shape[1]
        share = share / share.sum(1, keepdims=True) / share.shape[0]
    return share * len(share)


@pytest.fixture
def loss(request):
    module = DINOv2Loss(K, request.param, STUDENT).double()
    if request.param == "softmax":
        module.dino.center += torch.from_numpy(logits(1, 1, seed=7))
        module.ibot.center.center += torch.from_numpy(logits(1, seed=8))
    return module


def target(loss, values, center):
    if loss.balanced:
        return balanced_by_hand(values, TEACHER)
    return softmax((values - center) / TEACHER, axis=-1)


@pytest.mark.parametrize("loss", ["sinkhorn", "softmax"], indirect=True)
def test_class_term(loss):
    """The mean of H(teacher view, student view) over all pairs of different views."""
    teacher, student = logits(2, N, seed=1), logits(5, N, seed=2)
    center = loss.dino.center.numpy()[0]
    pairs = [
        -(target(loss, teacher[t], center) * log_softmax(student[s] / STUDENT, -1)).sum(-1).mean()
        for t in range(2)
        for s in range(5)
        if s != t
    ]
    found = loss.class_term(torch.from_numpy(teacher), torch.from_numpy(student), TEACHER)
    assert found.dtype == torch.float64
    assert float(found) == pytest.approx(np.mean(pairs), abs=1e-6)


@pytest.mark.parametrize("loss", ["sinkhorn", "softmax"], indirect=True)
def test_patch_term(loss):
    """The mean over images of the mean over the image's masked patches."""
    mask = np.zeros((3, 2, 2), dtype=bool)
    mask[0, 0, 0] = mask[1, 0, 1] = mask[1, 1, 0] = mask[1, 1, 1] = True
    teacher, student = logits(4, seed=3), logits(4, seed=4)
    center = loss.ibot.center.value.numpy()
    each = -(target(loss, teacher, center) * log_softmax(student / STUDENT, -1)).sum(-1)
    expected = (each[0] + each[1:].mean()) / 3
    found = loss.patch_term(*map(torch.from_numpy, (teacher, student, mask)), TEACHER)
    assert float(found) == pytest.approx(expected, abs=1e-6)


def test_nothing_masked_is_no_loss():
    loss = DINOv2Loss(K, "sinkhorn", STUDENT)
    none = torch.empty(0, K)
    assert loss.patch_term(none, none, torch.zeros(3, 2, 2, dtype=torch.bool), TEACHER) == 0


def test_spread_term():
    """Minus the mean log distance to the nearest neighbor on the sphere, each view alone."""
    tokens = np.random.default_rng(5).normal(size=(2, N, 4))
    expected = []
    for view in tokens / np.linalg.norm(tokens, axis=-1, keepdims=True):
        distance = np.linalg.norm(view[:, None] - view[None], axis=-1)
        np.fill_diagonal(distance, np.inf)
        expected.append(-np.log(distance.min(1)).mean())
    found = DINOv2Loss(K, "sinkhorn", STUDENT).spread_term(torch.from_numpy(tokens))
    assert float(found) == pytest.approx(np.mean(expected), abs=1e-6)


def test_sharp_teachers_do_not_overflow():
    loss = DINOv2Loss(K, "sinkhorn", STUDENT)
    teacher = torch.from_numpy(logits(2, N)).float() * 5
    assert loss.class_term(teacher, torch.zeros(3, N, K), 0.02).isfinite()


def test_the_running_center_moves_with_softmax_only():
    for centering, moves in (("softmax", True), ("sinkhorn", False)):
        loss = DINOv2Loss(K, centering, STUDENT)
        teacher = torch.from_numpy(logits(2, N)).float()
        loss.class_term(teacher, torch.zeros(3, N, K), TEACHER)
        assert bool(loss.dino.center.abs().sum() > 0) is moves
