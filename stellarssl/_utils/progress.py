"""Progress bars on standard error, for work that a person waits for."""

from collections.abc import Iterable, Iterator

from tqdm import tqdm

__all__ = ["progress"]


def progress(
    items: Iterable, label: str, *, total: int | None = None, show: bool = False
) -> Iterator:
    """Pass items on, with a bar when ``show`` is true.

    Parameters
    ----------
    items : iterable
        What is worked on.
    label : str
        What the bar says, such as ``"moments"``.
    total : int, optional
        How many there are, where ``items`` has no length.
    show : bool, optional
        Whether there is a bar.

    Returns
    -------
    items : iterator
        The same items.
    """
    return tqdm(items, desc=label, total=total, leave=False) if show else iter(items)
