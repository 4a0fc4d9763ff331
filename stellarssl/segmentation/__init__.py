"""The structure of gas: patch tokens, their principal components, segments, regions.

A `PCASegmenter` turns moment maps into a `Segmentation`.
"""

from stellarssl.segmentation.polygons import label_polygons, label_regions, label_rings
from stellarssl.segmentation.segmentation import Segmentation
from stellarssl.segmentation.segmenter import PCASegmenter

__all__ = ["PCASegmenter", "Segmentation", "label_polygons", "label_regions", "label_rings"]
