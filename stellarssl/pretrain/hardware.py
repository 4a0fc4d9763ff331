"""`Hardware`: what a training run may use of a machine, or of several."""

from dataclasses import dataclass

__all__ = ["Hardware"]


@dataclass(frozen=True)
class Hardware:
    """Processors, processes and precision of a training run.

    Attributes
    ----------
    accelerator : {"auto", "cpu", "cuda"}
        Device to train on; ``"auto"`` takes a GPU if there is one, otherwise the processor.
    devices : int
        Number of GPUs (on the processor: of processes) on each machine. Lightning starts the other
        processes by running the calling script again. Each process takes a batch of the preset's
        size.
    n_nodes : int
        Number of machines.
    precision : {"32-true", "bf16-mixed"} or None
        Number format of the network's arithmetic. None takes bfloat16 where the device computes in
        it, otherwise float32.
    n_workers : int
        Number of processes that render or read flames beside the training. Changes the speed only.

    Examples
    --------
    >>> Hardware(accelerator="cpu", n_workers=2).n_processes
    1
    """

    accelerator: str = "auto"
    devices: int = 1
    n_nodes: int = 1
    precision: str | None = None
    n_workers: int = 0

    @property
    def n_processes(self) -> int:
        """Number of processes that train."""
        return self.devices * self.n_nodes
