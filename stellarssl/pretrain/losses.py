"""The three terms of DINOv2's loss, from lightly's parts."""

import torch
import torch.distributed as dist
from lightly.loss import DINOLoss, IBOTPatchLoss, KoLeoLoss

__all__ = ["DINOv2Loss"]


class DINOv2Loss(torch.nn.Module):
    """Agreement of class tokens (DINO), of masked patches (iBOT), and spread (KoLeo).

    Oquab et al. 2023, `arXiv:2304.07193 <https://arxiv.org/abs/2304.07193>`_; the terms are of
    Caron et al. 2021, Zhou et al. 2021 and Sablayrolles et al. 2018.

    Parameters
    ----------
    prototypes : int
        Length of the heads' output.
    centering : {"sinkhorn", "softmax"}
        How the teacher is kept from one answer: three Sinkhorn-Knopp iterations over the batch
        (Caron et al. 2020), or a running mean that is taken off.
    student_temperature : float
        Of the student's softmax.
    """

    def __init__(self, prototypes: int, centering: str, student_temperature: float) -> None:
        super().__init__()
        self.balanced = centering == "sinkhorn"
        momentum = 1.0 if self.balanced else 0.9
        self.dino = DINOLoss(prototypes, student_temp=student_temperature, center_momentum=momentum)
        self.ibot = IBOTPatchLoss(
            prototypes, student_temp=student_temperature, center_momentum=momentum
        )
        self.koleo = KoLeoLoss()

    def class_term(
        self, teacher: torch.Tensor, student: torch.Tensor, temperature: float
    ) -> torch.Tensor:
        """Return the cross-entropy of every student view against every other teacher view.

        Parameters
        ----------
        teacher : `~torch.Tensor`
            Shape (2, n, prototypes): of the two global views.
        student : `~torch.Tensor`
            Shape (2 + n_local, n, prototypes): the global views first.
        temperature : float
            Of the teacher.

        Returns
        -------
        loss : `~torch.Tensor`
            A scalar.
        """
        if self.balanced:
            balanced = [self._balance(view, temperature) for view in teacher]
            teacher = torch.stack(balanced)
        return self.dino(list(teacher), list(student), teacher_temp=temperature)

    def patch_term(
        self,
        teacher: torch.Tensor,
        student: torch.Tensor,
        mask: torch.Tensor,
        temperature: float,
    ) -> torch.Tensor:
        """Return the cross-entropy of the masked patches, every image weighing the same.

        Parameters
        ----------
        teacher, student : `~torch.Tensor`
            Shape (number of masked patches, prototypes).
        mask : `~torch.Tensor`
            bool (n, rows, columns).
        temperature : float
            Of the teacher.

        Returns
        -------
        loss : `~torch.Tensor`
            A scalar; zero where nothing is masked.
        """
        if not len(teacher):
            return student.sum()
        if self.balanced:
            teacher = self._balance(teacher, temperature)
        return self.ibot(teacher, student, mask, teacher_temp=temperature)

    def spread_term(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return minus the mean log distance of class tokens to their nearest neighbors.

        Parameters
        ----------
        tokens : `~torch.Tensor`
            Shape (2, n, d): of the two global views, each taken alone.

        Returns
        -------
        loss : `~torch.Tensor`
            A scalar.
        """
        return sum(self.koleo(view) for view in tokens) / len(tokens)

    @staticmethod
    @torch.no_grad()
    def _balance(logits: torch.Tensor, temperature: float) -> torch.Tensor:
        """Return logits whose softmax at this temperature is the balanced assignment.

        Processes may hold unequal numbers of rows, which lightly's own Sinkhorn would weigh
        unequally.
        """
        together = dist.is_available() and dist.is_initialized()
        highest = logits.max()
        if together:
            dist.all_reduce(highest, dist.ReduceOp.MAX)
        share = ((logits - highest).double() / temperature).exp()
        for _ in range(3):
            taken = share.sum(0)  # by each prototype, from all processes
            if together:
                dist.all_reduce(taken)
            share /= taken
            share /= share.sum(1, keepdim=True)
        return (temperature * share.clamp_min(1e-300).log()).to(logits.dtype)
