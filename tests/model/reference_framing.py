"""The framing of model/preprocess.py written out plainly.

Written from the docstrings and the constants, for reading and not for speed: float64 throughout,
scipy for components, a loop over thresholds, rows of the filter and pixels that are erased.

Source:
    LeCun et al., MNIST: 20 px box keeping the aspect, then centre of mass.
    Otsu, "A threshold selection method from gray-level histograms", 1979.
"""

import math

import numpy as np
from scipy import ndimage

EIGHT_CONNECTED = np.ones((3, 3))


class Blank(Exception):
    """Nothing stands out from the paper."""


def frame_slowly(crop):
    """(H, W) uint8 -> (28, 28) float64 in [0, 1]."""
    already = pass_through(crop)
    if already is not None:
        return already
    grey = reduce_by_whole_factor(crop)
    threshold, dark, light, dark_frac = otsu(grey)
    if light - dark < 20:
        raise Blank
    is_light = grey > threshold
    border = np.concatenate([is_light[0], is_light[-1], is_light[:, 0], is_light[:, -1]])
    is_inverted = border.mean() + (1 - dark_frac) < 1
    is_ink = is_light if is_inverted else ~is_light
    paper, pen = (dark, light) if is_inverted else (light, dark)
    # Paper and its grain is 0, the pen's mean grey 1, between them a ramp.
    darkness = (grey.astype(float) - paper) / (pen - paper)
    ink_everywhere = np.clip((darkness - 0.15) / 0.85, 0, 1)

    bounds = bounding_box(is_ink)
    ink = cut(ink_everywhere, bounds)
    box = to_box(ink)
    labels, count = ndimage.label(box > 0.19, EIGHT_CONNECTED)
    if count > 1:
        dropped = parts_that_are_not_the_digit(box, labels, count, bounds, grey.shape)
        if dropped:
            ink = wipe(ink, labels, dropped)
            inner = bounding_box(ink > 0.5 * ink.max())
            top, left = bounds[0], bounds[2]
            bounds = (inner[0] + top, inner[1] + top, inner[2] + left, inner[3] + left)
            box = to_box(cut(ink, inner))
    touched = bounds[0] == 0, bounds[1] == grey.shape[0], bounds[2] == 0, bounds[3] == grey.shape[1]
    return centre_by_mass(box, touched)


def pass_through(crop):
    """The crop itself where MNIST has framed it already, else None."""
    if crop.shape != (28, 28):
        return None
    ink = 255.0 - crop if crop[0, 0] == 255 else crop.astype(float)
    if ink.sum() == 0:
        return None
    rows, columns = np.indices(ink.shape)
    off_centre = [abs((ink * axis).sum() / ink.sum() - 14) for axis in (rows, columns)]
    top, bottom, left, right = bounding_box(ink > 0)
    longest = max(bottom - top, right - left)
    if max(off_centre) > 0.52 or longest not in (19, 20) or ink.max() < 235:
        return None
    return ink / 255


def reduce_by_whole_factor(crop):
    """Average whole blocks until the longest side is at most 128; edges average what there is."""
    factor = math.ceil(max(crop.shape) / 128)
    starts = [np.arange(0, side, factor) for side in crop.shape]

    def block_sums(values):
        return np.add.reduceat(np.add.reduceat(values, starts[0], axis=0), starts[1], axis=1)

    means = block_sums(crop.astype(float)) / block_sums(np.ones(crop.shape))
    return np.floor(means + 0.5).astype(np.uint8)


def otsu(grey):
    """Threshold, mean of its dark side, mean of its light side, share of its dark side."""
    sample = grey if grey.size <= 64 * 64 else grey[::2, ::2]
    counts = np.bincount(sample.ravel(), minlength=256)
    best, best_spread = 0, -1.0
    for threshold in range(255):
        spread = spread_of_means(counts, threshold)
        if spread > best_spread * (1 + 1e-12):
            best, best_spread = threshold, spread
    if best_spread <= 0:
        raise Blank
    dark_count, dark_mean, _, light_mean = sides(counts, best)
    return best, dark_mean, light_mean, dark_count / sample.size


def sides(counts, threshold):
    """How many values there are up to a threshold and above, and their means."""
    levels = np.arange(256)
    dark, light = counts[: threshold + 1], counts[threshold + 1 :]
    dark_sum = (dark * levels[: threshold + 1]).sum()
    light_sum = (light * levels[threshold + 1 :]).sum()
    return (
        dark.sum(),
        dark_sum / max(dark.sum(), 1),
        light.sum(),
        light_sum / max(light.sum(), 1),
    )


def spread_of_means(counts, threshold):
    """What Otsu makes as large as possible."""
    dark_count, dark_mean, light_count, light_mean = sides(counts, threshold)
    return dark_count * light_count * (dark_mean - light_mean) ** 2.0


def bounding_box(mask):
    """Top, bottom, left, right, half open."""
    rows, columns = np.nonzero(mask)
    return rows.min(), rows.max() + 1, columns.min(), columns.max() + 1


def cut(ink, bounds):
    top, bottom, left, right = bounds
    return ink[top:bottom, left:right]


def to_box(ink):
    """Longest side 20 px, by a triangle filter over each axis in turn."""
    height, width = ink.shape
    scale = 20 / max(height, width)
    rows = max(1, round(height * scale))
    columns = max(1, round(width * scale))
    return resample(resample(ink, rows).T, columns).T


def resample(ink, target):
    source = len(ink)
    scale = source / target
    result = np.zeros((target, ink.shape[1]))
    for row in range(target):
        centre = (row + 0.5) * scale
        distance = np.abs(np.arange(source) + 0.5 - centre)
        weights = np.maximum(0, 1 - distance / max(scale, 1))
        result[row] = (weights[:, np.newaxis] * ink).sum(axis=0) / weights.sum()
    return result


def parts_that_are_not_the_digit(box, labels, count, bounds, crop_shape):
    """Dirt, box lines, and what a neighbour's stroke left at the edge.

    The largest part goes only if it is a line along the edge and enough else is kept.
    """
    masses = {label: box[labels == label].sum() for label in range(1, count + 1)}
    total, largest = sum(masses.values()), max(masses.values())
    top, bottom, left, right = bounds
    crop_height, crop_width = crop_shape
    dropped, lines_along_edge = [], []
    for label, mass in masses.items():
        part_top, part_bottom, part_left, part_right = bounding_box(labels == label)
        at_row_edge = (part_top == 0 and top == 0) or (
            part_bottom == len(box) and bottom == crop_height
        )
        at_column_edge = (part_left == 0 and left == 0) or (
            part_right == len(box[0]) and right == crop_width
        )
        is_at_edge = at_row_edge or at_column_edge
        tall = (part_bottom - part_top) / len(box) * (bottom - top) / crop_height
        wide = (part_right - part_left) / len(box[0]) * (right - left) / crop_width
        is_line = max(tall, wide) >= 0.8 and min(tall, wide) <= 0.2
        if is_line and (at_column_edge if tall > wide else at_row_edge):
            lines_along_edge.append(label)
        is_speck = mass < 0.04 * total
        is_neighbour = is_at_edge and mass < 0.2 * total
        if mass < largest and (is_speck or is_neighbour or (is_at_edge and is_line)):
            dropped.append(label)
    kept = sum(mass for label, mass in masses.items() if label not in dropped) - largest
    largest_label = max(masses, key=lambda label: masses[label])
    if kept >= 0.1 * total and largest_label in lines_along_edge:
        dropped.append(largest_label)
    return dropped


def wipe(ink, labels, dropped):
    """Ink without the dropped parts; each pixel belongs to the part at its place in the box."""
    kept = ink.copy()
    height, width = ink.shape
    for row in range(height):
        for column in range(width):
            place = row * labels.shape[0] // height, column * labels.shape[1] // width
            if labels[place] in dropped:
                kept[row, column] = 0
    return kept


def centre_by_mass(box, touched):
    """Into 28x28 by whole pixels, centre of mass nearest to the middle, darkest ink 1.

    Where one to three edges of the crop cut the ink, the border there shows the ink at the cut.
    """
    height, width = box.shape
    rows, columns = np.indices(box.shape)
    top = round(14 - (box * rows).sum() / box.sum())
    left = round(14 - (box * columns).sum() / box.sum())
    top = min(max(top, 0), 28 - height)
    left = min(max(left, 0), 28 - width)
    image = np.zeros((28, 28))
    image[top : top + height, left : left + width] = box / box.max()
    if sum(touched) == 4:
        return image
    ink = image.copy()
    for turns, is_cut in zip((0, 2, 3, 1), touched, strict=True):
        if is_cut:  # turned so that the touched edge is the upper one
            turned, border = np.rot90(ink, turns), np.rot90(image, turns)
            edge_row = (
                top,
                28 - top - height,
                left,
                28 - left - width,
            )[(0, 2, 3, 1).index(turns)]
            border[:2] = np.maximum(border[:2], turned[edge_row])
    return image
