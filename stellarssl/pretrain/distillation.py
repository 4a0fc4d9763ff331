"""Student, teacher and one step of self-distillation, as a Lightning module."""

import math
import random
import warnings
from collections.abc import Iterator
from dataclasses import asdict

import lightning
import torch
from lightly.models.modules import DINOv2ProjectionHead, MaskedVisionTransformerTIMM
from lightly.models.utils import random_block_mask, update_momentum
from lightly.utils.scheduler import cosine_schedule, cosine_warmup_schedule

from stellarssl.encoder import EncoderSpec, Scaling, build_model
from stellarssl.pretrain.losses import DINOv2Loss
from stellarssl.pretrain.preset import Preset, Stage
from stellarssl.pretrain.views import make_views

__all__ = ["SelfDistillation", "network_spec"]


def network_spec(preset: Preset) -> EncoderSpec:
    """Return the spec of the encoder that a run trains.

    Parameters
    ----------
    preset : `Preset`
        The run.

    Returns
    -------
    spec : `~stellarssl.encoder.EncoderSpec`
        Without a checksum.
    """
    network = preset.network
    kind = "minmax" if preset.data.kind == "rgb" else "physical"
    return EncoderSpec(
        preset.name,
        architecture=network.architecture,
        image_size=network.image_size,
        patch_size=network.patch_size,
        width=network.width,
        n_registers=network.n_registers,
        scaling=Scaling(kind=kind),
    )


class _Branch(torch.nn.Module):
    """A transformer with its two projection heads."""

    def __init__(self, preset: Preset, drop_path: float) -> None:
        super().__init__()
        vit = build_model(network_spec(preset), drop_path=drop_path)
        if not torch.cuda.is_available():
            for block in vit.blocks:  # fused attention takes 1.7 times longer on short sequences
                block.attn.fused_attn = False
        vit.norm_pre.register_forward_hook(_as_computed)
        self.backbone = MaskedVisionTransformerTIMM(
            vit, weight_initialization="skip", pos_embed_initialization="skip"
        )
        head = preset.head
        with warnings.catch_warnings():  # lightly's weight_norm is torch's older one
            warnings.filterwarnings("ignore", category=FutureWarning)
            self.class_head, self.patch_head = (
                DINOv2ProjectionHead(vit.embed_dim, head.hidden, head.bottleneck, head.prototypes)
                for _ in range(2)
            )
        for head_module in (self.class_head, self.patch_head):
            head_module.last_layer.weight_g.requires_grad_(requires_grad=False)

    def tokens(self, images: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Return normalized tokens; ``mask`` (n, rows, columns) hides patches."""
        if mask is not None:
            shown = mask.new_zeros(len(mask), self.n_prefix)
            mask = torch.cat((shown, mask.flatten(1)), 1)
        return self.backbone.encode(images, mask=mask)

    def tokens_of_some(self, images: torch.Tensor, dropped: float) -> torch.Tensor:
        """Return normalized tokens of images of which a share of the patches is left out."""
        n_patches = images[0, 0].numel() // self.backbone.vit.patch_embed.patch_size[0] ** 2
        drawn = torch.rand(len(images), n_patches, device=images.device).argsort(1)
        patches = drawn[:, : max(1, round((1 - dropped) * n_patches))] + self.n_prefix
        prefix = torch.arange(self.n_prefix, device=images.device).expand(len(images), -1)
        return self.backbone.encode(images, idx_keep=torch.cat((prefix, patches), 1))

    @property
    def n_prefix(self) -> int:
        return self.backbone.vit.num_prefix_tokens


def _as_computed(_: torch.nn.Module, __: tuple, tokens: torch.Tensor) -> torch.Tensor:
    """Bring the residual stream to what matrices are multiplied in, so that no block casts it."""
    kind = tokens.device.type
    if not torch.is_autocast_enabled(kind):
        return tokens
    return tokens.to(torch.get_autocast_dtype(kind))


class SelfDistillation(lightning.LightningModule):
    """DINOv2: a student learns to answer as the running mean of itself does.

    The student sees two large views with some patches hidden, and small ones; the teacher sees
    the large ones whole. Without the patch term (``ibot = 0``) patches are not hidden but left out,
    which costs less. Everything random is drawn from (seed, step, rank), so that a run that
    was stopped goes on as if it had not been.

    Parameters
    ----------
    preset : `Preset`
        The run.
    """

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.preset = preset
        self.scaling = network_spec(preset).scaling
        torch.manual_seed(preset.data.seed)
        self.student = _Branch(preset, preset.network.drop_path)
        self.teacher = _Branch(preset, 0.0).requires_grad_(requires_grad=False)
        self.teacher.load_state_dict(self.student.state_dict())
        loss = preset.loss
        self.loss = DINOv2Loss(preset.head.prototypes, loss.centering, loss.student_temperature)
        self.micro_step = 0

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint["preset"] = asdict(self.preset)
        checkpoint["micro_step"] = self.micro_step

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        self.micro_step = checkpoint["micro_step"]

    def train(self, mode: bool = True) -> "SelfDistillation":  # noqa: FBT001, FBT002
        super().train(mode)
        self.teacher.eval()
        return self

    def training_step(self, flames: torch.Tensor, _: int) -> torch.Tensor:
        self._seed()
        self.micro_step += 1
        stage = self.preset.stage_at(self.global_step)
        plan = [
            (2, stage.global_size, stage.global_scale),
            (stage.n_local, stage.local_size, stage.local_scale),
        ]
        views = make_views(flames, self.preset.views, plan, self.scaling)
        mask = self.draw_mask(len(flames), stage)
        temperature = self._teacher_temperature()
        terms = self.terms(*views, mask, len(flames), temperature=temperature)
        weights = self.preset.loss
        loss = sum(getattr(weights, name) * term for name, term in terms.items())
        record = {"loss": loss} | terms
        self.log_dict({name: value.detach() for name, value in record.items()})
        return loss

    def terms(
        self,
        large: torch.Tensor,
        small: torch.Tensor,
        mask: torch.Tensor | None,
        n: int,
        *,
        temperature: float,
    ) -> dict[str, torch.Tensor]:
        """Compute the three terms of the loss.

        Parameters
        ----------
        large, small : `~torch.Tensor`
            Views one after another: (2 n, 3, y, x) and (n_local n, 3, y, x).
        mask : `~torch.Tensor` or None
            bool (2 n, rows, columns): patches hidden from the student. None is no patch term.
        n : int
            Flames in the batch.
        temperature : float
            Of the teacher's softmax.

        Returns
        -------
        terms : dict
            ``dino``, ``koleo`` and, with a mask, ``ibot``.
        """
        with torch.no_grad():
            target = self.teacher.tokens(large)
            target_class = self.teacher.class_head(target[:, 0]).float().unflatten(0, (2, n))
        if mask is None:
            tokens = self.student.tokens_of_some(large, self.preset.loss.dropped_patches)
        else:
            tokens = self.student.tokens(large, mask)
        classes = [tokens[:, 0]]
        if len(small):
            classes.append(self.student.tokens(small)[:, 0])
        answer = self.student.class_head(torch.cat(classes)).float().unflatten(0, (-1, n))
        spread = tokens[:, 0].float().unflatten(0, (2, n))
        with torch.autocast(large.device.type, enabled=False):
            terms = {
                "dino": self.loss.class_term(target_class, answer, temperature),
                "koleo": self.loss.spread_term(spread),
            }
        if mask is not None:
            terms["ibot"] = self._patch_term(target, tokens, mask, temperature)
        return terms

    def _patch_term(
        self, target: torch.Tensor, tokens: torch.Tensor, mask: torch.Tensor, temperature: float
    ) -> torch.Tensor:
        skip, hidden = self.student.n_prefix, mask.flatten(1)
        with torch.no_grad():
            target_patch = self.teacher.patch_head(target[:, skip:][hidden]).float()
        answer_patch = self.student.patch_head(tokens[:, skip:][hidden]).float()
        with torch.autocast(target.device.type, enabled=False):
            return self.loss.patch_term(target_patch, answer_patch, mask, temperature)

    def _seed(self) -> None:
        seed = (self.preset.data.seed << 40) + (self.global_rank << 32) + self.micro_step
        torch.manual_seed(seed)

    def draw_mask(self, n: int, stage: Stage) -> torch.Tensor | None:
        """Draw blocks of patches to hide from the student.

        Parameters
        ----------
        n : int
            Flames in the batch.
        stage : `Stage`
            Gives the size of the views.

        Returns
        -------
        mask : `~torch.Tensor` or None
            bool (2 n, rows, columns). None without a patch term.
        """
        if not self.preset.loss.ibot:
            return None
        loss, grid = self.preset.loss, stage.global_size // self.preset.network.patch_size
        state = random.getstate()  # lightly draws from Python's generator
        random.seed(torch.randint(2**31, (1,)).item())
        mask = random_block_mask(
            (2 * n, grid, grid),
            batch_mask_ratio=loss.masked_images,
            min_image_mask_ratio=loss.masked_patches[0],
            max_image_mask_ratio=loss.masked_patches[1],
            min_num_masks_per_block=1,
            max_num_masks_per_block=grid * grid,
            device=self.device,
        )
        random.setstate(state)
        return mask

    def _teacher_temperature(self) -> float:
        low, high = self.preset.loss.teacher_temperature
        warmup = self.preset.loss.teacher_warmup * self.preset.optimizer.steps
        return low + (high - low) * min(1.0, self.global_step / max(warmup, 1))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        settings = self.preset.optimizer
        groups = list(_parameter_groups(self.student, settings.layer_decay))
        return torch.optim.AdamW(groups, lr=settings.learning_rate, weight_decay=0.0)

    def on_train_batch_start(self, *_: object) -> None:
        settings, step = self.preset.optimizer, self.global_step
        peak = settings.learning_rate * math.sqrt(self._samples_per_step / 1024)
        rate = cosine_warmup_schedule(
            step,
            settings.steps,
            start_value=peak,
            end_value=settings.final_learning_rate,
            warmup_steps=max(1, round(settings.warmup * settings.steps)),
            warmup_start_value=0.0,
        )
        decay = cosine_schedule(step, settings.steps, *settings.weight_decay)
        for group in self.optimizers().param_groups:
            group["lr"] = rate * group["rate_factor"]
            group["weight_decay"] = decay * group["decay_factor"]
        self.log("learning_rate", rate)

    @property
    def _samples_per_step(self) -> int:
        return self.preset.effective_batch * self.trainer.world_size

    def on_before_optimizer_step(self, _: torch.optim.Optimizer) -> None:
        settings = self.preset.optimizer
        if self.global_step < settings.freeze_last_layer * settings.steps:
            for head in (self.student.class_head, self.student.patch_head):
                for parameter in head.last_layer.parameters():
                    parameter.grad = None

    def optimizer_step(self, *args: object, **kwargs: object) -> None:
        settings = self.preset.optimizer
        momentum = cosine_schedule(self.global_step, settings.steps, *settings.momentum)
        super().optimizer_step(*args, **kwargs)
        update_momentum(self.student, self.teacher, m=momentum)


def _parameter_groups(branch: _Branch, layer_decay: float) -> Iterator[dict]:
    """Yield the parameters layer by layer: lower layers learn slower; no decay of vectors."""
    n_layers = len(branch.backbone.vit.blocks) + 1
    groups: dict[tuple[float, float], list] = {}
    for name, parameter in branch.named_parameters():
        if not parameter.requires_grad:
            continue
        if ".blocks." in name:
            layer = int(name.split(".blocks.")[1].split(".")[0]) + 1
        elif any(part in name for part in ("patch_embed", "pos_embed", "_token")):
            layer = 0
        else:
            layer = n_layers
        decay = float(parameter.ndim > 1 and "pos_embed" not in name and "_token" not in name)
        key = (layer_decay ** (n_layers - layer), decay)
        groups.setdefault(key, []).append(parameter)
    for (rate, decay), parameters in groups.items():
        yield {"params": parameters, "rate_factor": rate, "decay_factor": decay}
