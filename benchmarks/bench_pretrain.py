"""Training against lightly's documented way, in flames a second: same network, crops, head, batch.

    python benchmarks/bench_pretrain.py [n_steps]

The other way is what lightly's DINOv2 example does, in float32: 8-bit images, views made by
`DINOTransform` one image at a time in the data loader, softmax centering, AdamW on one group of
parameters. Ours is float32, too, or what `train` finds to be the faster precision here. There are
as many threads as torch is given and no workers, so that all work is counted. Rates are the best of
steps taken in turn.
"""

import sys
import time
from copy import deepcopy
from dataclasses import replace

import numpy as np
import timm
import torch
from lightly.loss import DINOLoss, IBOTPatchLoss, KoLeoLoss
from lightly.models.modules import DINOv2ProjectionHead, MaskedVisionTransformerTIMM
from lightly.models.utils import random_block_mask, update_momentum
from lightly.transforms.dino_transform import DINOTransform
from PIL import Image
from torch.utils.data import DataLoader

from stellarssl.pretrain import FlameDataset, read_preset
from stellarssl.pretrain.cost import fastest_dtype
from stellarssl.pretrain.distillation import SelfDistillation, _parameter_groups
from stellarssl.pretrain.preset import LossSettings
from stellarssl.pretrain.training import Batches
from stellarssl.pretrain.views import make_views

BATCH = 64


class Pictures:
    """Flames as the 8-bit pictures that the example's transform takes, through it."""

    def __init__(self, flames, transform):
        low, high = flames.min((2, 3), keepdims=True), flames.max((2, 3), keepdims=True)
        pixels = np.round(255 * (flames - low) / (high - low)).astype(np.uint8)
        self.images = [Image.fromarray(np.moveaxis(image, 0, -1)) for image in pixels]
        self.transform = transform

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.transform(self.images[index])


class Plain:
    """The example's loop."""

    def __init__(self, preset, flames):
        stage, head, network = preset.stages[0], preset.head, preset.network
        vit = timm.create_model(
            network.architecture, img_size=network.image_size, patch_size=network.patch_size,
            num_classes=0, reg_tokens=network.n_registers, dynamic_img_size=True,
        )  # fmt: skip
        self.n_prefix, self.grid = vit.num_prefix_tokens, stage.global_size // network.patch_size
        width = (vit.embed_dim, head.hidden, head.bottleneck, head.prototypes)
        heads = [DINOv2ProjectionHead(*width) for _ in range(4)]
        backbone = MaskedVisionTransformerTIMM(vit)
        self.student = torch.nn.ModuleList([backbone, *heads[:2]])
        self.teacher = torch.nn.ModuleList([deepcopy(backbone), *heads[2:]])
        self.teacher.requires_grad_(requires_grad=False)
        self.losses = DINOLoss(head.prototypes), IBOTPatchLoss(head.prototypes), KoLeoLoss()
        self.optimizer = torch.optim.AdamW(self.student.parameters(), lr=1e-4)
        transform = DINOTransform(
            stage.global_size, tuple(scale**2 for scale in stage.global_scale),
            stage.local_size, tuple(scale**2 for scale in stage.local_scale), stage.n_local,
        )  # fmt: skip
        loader = DataLoader(Pictures(flames, transform), BATCH, shuffle=True, drop_last=True)
        self.batches = iter(batch for _ in iter(int, 1) for batch in loader)

    def step(self):
        views = next(self.batches)
        large, small = torch.cat(views[:2]), torch.cat(views[2:])
        mask = random_block_mask(
            (len(large), self.grid, self.grid),
            min_num_masks_per_block=1, max_num_masks_per_block=self.grid**2,
        )  # fmt: skip
        hidden = torch.cat((mask.new_zeros(len(mask), self.n_prefix), mask.flatten(1)), 1)
        vit, class_head, patch_head = self.teacher
        with torch.no_grad():
            target = vit.encode(large)
            target_class, target_patch = class_head(target[:, 0]), patch_head(target[hidden])
        vit, class_head, patch_head = self.student
        answer = vit.encode(large, mask=hidden)
        seen = class_head(torch.cat((answer[:, 0], vit.encode(small)[:, 0])))
        dino, ibot, koleo = self.losses
        loss = (
            dino(target_class.chunk(2), seen.split(BATCH), teacher_temp=0.05)
            + ibot(target_patch, patch_head(answer[hidden]), mask, teacher_temp=0.05)
            + 0.1 * sum(koleo(part) for part in answer[:, 0].chunk(2))
        )
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        update_momentum(self.student, self.teacher, m=0.99)


class Ours:
    """The same work as `SelfDistillation` does it; lightning adds checkpoints and the log."""

    def __init__(self, preset, flames, dtype):
        self.module, self.low = SelfDistillation(preset).train(), dtype == "bfloat16"
        groups = list(_parameter_groups(self.module.student, 1.0))
        self.optimizer = torch.optim.AdamW(groups, lr=1e-4)
        self.batches = iter(Batches(flames, BATCH, 0, 0))

    def step(self):
        module, stage = self.module, self.module.preset.stages[0]
        flames = next(self.batches)
        plan = [
            (2, stage.global_size, stage.global_scale),
            (stage.n_local, stage.local_size, stage.local_scale),
        ]
        views = make_views(flames, module.preset.views, plan, module.scaling)
        mask = module.draw_mask(BATCH, stage)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.low):
            terms = module.terms(*views, mask, BATCH, temperature=0.05)
        loss = sum(getattr(module.preset.loss, name) * term for name, term in terms.items())
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.student.parameters(), 3.0)
        self.optimizer.step()
        update_momentum(module.student, module.teacher, m=0.99)


def measure(plain, preset, n_steps):
    """Return flames per second: the example's, ours in float32, and in the faster precision."""
    torch.manual_seed(0)
    flames = FlameDataset(2 * BATCH, size=preset.data.size, n_points=20_000)
    flames = np.stack([flames[k] for k in range(len(flames))])
    ways = [Plain(plain, flames), Ours(preset, flames, "float32")]
    vit = ways[1].module.student.backbone.vit
    dtype = fastest_dtype(vit, preset.network.image_size, torch.device("cpu"))
    ways += [Ours(preset, flames, dtype)] if dtype != "float32" else []
    seconds = [[] for _ in ways]
    for _ in range(n_steps + 1):
        for way, taken in zip(ways, seconds, strict=True):
            start = time.perf_counter()
            way.step()
            taken.append(time.perf_counter() - start)
    rates = [BATCH / min(taken[1:]) for taken in seconds]
    return rates[0], rates[1], max(rates[1:])


def usual(preset, large, small, n_small):
    """Return what the example trains, too: one stage, all terms, registers, a head of 4096."""
    stage = replace(preset.stages[0], until=1.0, global_size=large, local_size=small,
                    n_local=n_small)  # fmt: skip
    head = replace(preset.head, hidden=512, bottleneck=128, prototypes=4096)
    network, loss = replace(preset.network, n_registers=4), LossSettings()
    return replace(preset, stages=(stage,), head=head, network=network, loss=loss)


def measure_shipped(n_steps):
    """Return flames per second of the example and of the shipped recipe, over all its stages."""
    preset, begun, seconds = read_preset("cpu-tiny"), 0.0, np.zeros(2)
    for stage in preset.stages:
        plain = usual(preset, stage.global_size, stage.local_size, stage.n_local)
        plain = replace(plain, head=preset.head)
        theirs, _, ours = measure(plain, replace(preset, stages=(stage,)), n_steps)
        seconds += (stage.until - begun) / np.array([theirs, ours])
        begun = stage.until
    return 1 / seconds


class Training:
    """How many times more flames a second than lightly's example."""

    params = (((32, 16, 4), (64, 32, 6)), ("float32", "as train chooses"))
    param_names = ("sizes", "precision")
    unit = "ratio"
    timeout = 600

    def track_ratio_to_lightly(self, size, precision):
        preset = usual(read_preset("cpu-tiny"), *size)
        theirs, full, fastest = measure(preset, preset, 3)
        return (full if precision == "float32" else fastest) / theirs


class ShippedRecipe:
    """The same of the recipe of `cpu-tiny`, as it chooses its precision."""

    unit = "ratio"
    timeout = 600

    def track_ratio_to_lightly(self):
        theirs, ours = measure_shipped(3)
        return ours / theirs


def main():
    n_steps = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    for size in Training.params[0]:
        preset = usual(read_preset("cpu-tiny"), *size)
        theirs, full, fastest = measure(preset, preset, n_steps)
        sys.stdout.write(
            f"2 x {size[0]} + {size[2]} x {size[1]} px, {torch.get_num_threads()} threads,"
            f" flames/s: lightly {theirs:.1f}, float32 {full:.1f} (x {full / theirs:.2f}),"
            f" as train chooses {fastest:.1f} (x {fastest / theirs:.2f})\n"
        )
    theirs, ours = measure_shipped(n_steps)
    sys.stdout.write(f"cpu-tiny: lightly {theirs:.1f}, {ours:.1f} (x {ours / theirs:.2f})\n")


if __name__ == "__main__":
    main()
