"""Views of color images as DINO was published with, from torchvision's transforms on floats."""

from functools import lru_cache

import torch
from torchvision.transforms import v2

__all__ = ["imagenet_views"]


def imagenet_views(
    images: torch.Tensor, plan: list[tuple[int, int, tuple[float, float]]]
) -> list[torch.Tensor]:
    """Make views of a batch of color images, drawn from torch's current generator.

    Resized crop, mirror, color jitter (of four images in five) and gray (of one in five), as in
    Caron et al. 2021, `arXiv:2104.14294 <https://arxiv.org/abs/2104.14294>`_, table 6 of Grill et
    al. 2020. The first view is blurred always, the second in one case of ten and solarised in one
    of five, small views are blurred in half of the cases.

    Parameters
    ----------
    images : `~torch.Tensor`
        Shape (n, 3, y, x), between 0 and 1. A value that is not finite counts as 0.
    plan : list of tuple
        The large views, then the small ones: (number of views, their size in pixels, smallest and
        largest part of the image's edge).

    Returns
    -------
    views : list of `~torch.Tensor`
        For each entry of ``plan`` its views, one after another: (number * n, 3, size, size).
    """
    images = images.nan_to_num()
    views = []
    for entry, (number, size, scale) in enumerate(plan):
        group = []
        for k in range(number):
            blur, solarise = (0.5, 0.0) if entry else ((1.0, 0.0), (0.1, 0.2))[min(k, 1)]
            transform = _transform(size, scale, blur, solarise)
            group += [transform(image) for image in images]  # each image has its own draw
        views.append(torch.stack(group) if group else images.new_empty(0, 3, size, size))
    return views


@lru_cache
def _transform(
    size: int, scale: tuple[float, float], blur: float, solarise: float
) -> torch.nn.Module:
    """Return the transform of one image; the kernel is a tenth of the view, as SimCLR's."""
    kernel = max(3, size // 10 | 1)
    area = (scale[0] ** 2, scale[1] ** 2)
    return v2.Compose(
        [
            v2.RandomResizedCrop(size, scale=area, interpolation=v2.InterpolationMode.BICUBIC),
            v2.RandomHorizontalFlip(),
            v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.2, 0.1)], p=0.8),
            v2.RandomGrayscale(p=0.2),
            v2.RandomApply([v2.GaussianBlur(kernel, sigma=(0.1, 2.0))], p=blur),
            v2.RandomSolarize(0.5, p=solarise),
        ]
    )
