"""Writes tests/ops/expected_layout.inc: what NumPy says that operators give which lay out, index
and select elements. Run from the repository root:  python tests/ops/make_expected_layout.py
"""
import sys

import numpy as np

sys.path.insert(0, "tests/ops")
import make_expected as page  # noqa: E402

i64 = page.i64

def pads(case, x):
    widths = [(1, 2), (0, 1)]
    listed = i64(1, 0, 2, 1)
    for mode in ("constant", "reflect", "edge", "wrap"):
        case("pad " + mode, "PAD", [x, listed], np.pad(x, widths, mode=mode), mode=mode)
    case("pad of one axis, with a value", "PAD", [x, i64(2, 1), np.float32(7), i64(-1)],
         np.pad(x, [(0, 0), (2, 1)], constant_values=7))
    case("pad that cuts", "PAD", [x, i64(-1, 2, 0, -1)], np.pad(x, [(0, 0), (2, 0)])[1:, :-1])
    case("pad int64 far beyond", "PAD", [i64(1, 2, 3), i64(5, 4)],
         np.pad(i64(1, 2, 3), [(5, 4)], mode="reflect"), mode="reflect")
    case("pad float16", "PAD", [x.astype(np.float16), i64(0, 1, 0, 0)],
         np.pad(x.astype(np.float16), [(0, 0), (1, 0)]))


def layouts(case, rng):
    x = rng.uniform(-2, 2, (3, 4)).astype(np.float32)
    pads(case, x)
    case("flatten", "FLATTEN", [x.reshape(3, 2, 2)], x.reshape(6, 2), axis=-1)
    case("flatten at 0", "FLATTEN", [x], x.reshape(1, 12), axis=0)
    case("size", "SIZE", [x], np.array(12, dtype=np.int64))
    case("size of a scalar", "SIZE", [np.float32(2)], np.array(1, dtype=np.int64))
    case("tile", "TILE", [x, i64(2, 1)], np.tile(x, (2, 1)))
    case("tile to nothing", "TILE", [x, i64(0, 2)], np.tile(x, (0, 2)))
    case("trilu bool", "TRILU", [x > 0, np.array(1, dtype=np.int64)], np.triu(x > 0, 1))
    case("trilu lower", "TRILU", [x, i64(-1)], np.tril(x, -1), upper=0)
    case("crop and pad", "CENTER_CROP_PAD", [x, i64(2, 7)],
         np.pad(x[:2], [(0, 0), (1, 2)]))
    deep = np.arange(2 * 8 * 3 * 2, dtype=np.uint8).reshape(2, 8, 3, 2)
    wide = deep.reshape(2, 2, 2, 2, 3, 2)
    case("depth to space", "DEPTH_TO_SPACE", [deep],
         wide.transpose(0, 3, 4, 1, 5, 2).reshape(2, 2, 6, 4), blocksize=2)
    case("depth to space, depth first", "DEPTH_TO_SPACE", [deep],
         wide.transpose(0, 1, 4, 2, 5, 3).reshape(2, 2, 6, 4), blocksize=2, mode="CRD")
    case("space to depth", "SPACE_TO_DEPTH",
         [wide.transpose(0, 3, 4, 1, 5, 2).reshape(2, 2, 6, 4)], deep, blocksize=2)
    case("dropout", "DROPOUT", [x], [x, np.ones(x.shape, bool)])


def scattered(x, indices, updates, axis, function):
    y = x.copy()
    for at in np.ndindex(indices.shape):
        to = list(at)
        to[axis] = indices[at]
        y[tuple(to)] = function(y[tuple(to)], updates[at])
    return y


def indexed(case, rng):
    x = rng.uniform(-2, 2, (3, 4)).astype(np.float32)
    pick = i64(2, -1, 0, 0).reshape(1, 4)
    case("gather elements", "GATHER_ELEMENTS", [x, pick], np.take_along_axis(x, pick, 0))
    case("gather nd", "GATHER_ND", [x, i64(1, -1, 0, 2).reshape(2, 2)], x[[1, 0], [-1, 2]])
    case("gather nd, batched", "GATHER_ND", [x.reshape(3, 2, 2), i64(1, 0, 1).reshape(3, 1)],
         x.reshape(3, 2, 2)[[0, 1, 2], [1, 0, 1]], batch_dims=1)
    updates = rng.uniform(-2, 2, (2, 4)).astype(np.float32)
    at = i64(0, 2, 1, 0, 0, -1, 1, 2).reshape(2, 4)
    for name, function in (("add", np.add), ("mul", np.multiply), ("max", np.maximum),
                           ("min", np.minimum)):
        case("scatter " + name, "SCATTER_ELEMENTS", [x, at, updates],
             scattered(x, at, updates, 0, function), reduction=name)
    big = np.array([1, 2**63 + 4096], dtype=np.uint64)
    case("scatter max uint64", "SCATTER_ELEMENTS", [big, i64(0, 1), big[::-1].copy()],
         np.array([2**63 + 4096] * 2, dtype=np.uint64), reduction="max")
    y = x.copy()
    y[[2, 0]] = updates
    case("scatter nd", "SCATTER_ND", [x, i64(-1, 0).reshape(2, 1), updates], y)
    y = x.copy()
    y[0] += updates[0] + updates[1]
    case("scatter nd, adding twice", "SCATTER_ND", [x, i64(0, 0).reshape(2, 1), updates], y,
         reduction="add")
    cache = np.zeros((2, 3, 2), np.float32)
    update = rng.uniform(-2, 2, (2, 2, 2)).astype(np.float32)
    y = cache.copy()
    y[0, [1, 2]], y[1, [2, 0]] = update[0], update[1]
    case("tensor scatter", "TENSOR_SCATTER", [cache, update, i64(1, 2)], y, mode="circular")
    y = x.copy()
    y[:, 0], y[:2, 1] = x[::-1, 0], x[1::-1, 1]
    case("reverse sequence", "REVERSE_SEQUENCE", [x, i64(3, 2, 1, 0)], y)
    case("one hot", "ONE_HOT", [i64(0, -1, 3), np.array(3, np.int64), i64(5, 9)],
         np.array([[9, 5, 5], [5, 5, 5], [5, 9, 5]], np.int64), axis=0)


def selected(case, rng):
    x = np.array([[3, 1, 3, 2], [0, 0, 5, -1]], np.float32)
    case("top k", "TOP_K", [x, i64(2)],
         [np.float32([[3, 3], [5, 0]]), i64(0, 2, 2, 0).reshape(2, 2)])
    case("smallest k", "TOP_K", [x, i64(1)],
         [np.float32([[0, 0, 3, -1]]), i64(1, 1, 0, 1).reshape(1, 4)],
         largest=0, axis=0)
    case("top 0", "TOP_K", [x, i64(0)],
         [np.zeros((2, 0), np.float32), np.zeros((2, 0), np.int64)])
    case("non zero", "NON_ZERO", [x], np.array(np.nonzero(x), np.int64))
    case("non zero of nothing", "NON_ZERO", [np.zeros((0, 3), bool)], np.zeros((2, 0), np.int64))
    case("compress", "COMPRESS", [x, np.array([False, True, True])], x[:, 1:3], axis=1)
    case("compress flat", "COMPRESS", [x, np.array([True] + 4 * [False] + [True])],
         np.float32([3, 0]))
    first, where, counts = i64(0, 3, 1), i64(0, 2, 0, 1), i64(2, 1, 1)
    case("unique unsorted", "UNIQUE", [x[0]],
         [np.float32([3, 1, 2]), i64(0, 1, 3), i64(0, 1, 0, 2), counts], sorted=0)
    case("unique columns", "UNIQUE", [np.float32([[2, 1, 2], [0, 5, 0]])],
         [np.float32([[1, 2], [5, 0]]), i64(1, 0), i64(1, 0, 1), i64(1, 2)], axis=1)
    case("unique int64", "UNIQUE", [i64(4, 9, 4, 7)],
         [i64(4, 7, 9), first[[0, 1, 2]], where, counts])
    detected(case)


def detected(case):
    boxes = np.float32([[[0, 0, 1, 1], [1, 1.1, 0, 0.1], [0, 10, 1, 11], [0, 0, 1, 1]]])
    scores = np.float32([[[0.9, 0.8, 0.95, 0.2], [0.1, 0.7, 0.3, 0.7]]])
    case("suppression", "NON_MAX_SUPPRESSION",
         [boxes, scores, np.array(2, np.int64), np.float32(0.5), np.float32(0.25)],
         i64(0, 0, 2, 0, 0, 0, 0, 1, 1, 0, 1, 2).reshape(4, 3))
    case("suppression of all", "NON_MAX_SUPPRESSION", [boxes, scores], np.zeros((0, 3), np.int64))


if __name__ == "__main__":
    for part in (layouts, indexed, selected):
        part(page.case, np.random.default_rng(7))
    page.write("tests/ops/expected_layout.inc", "make_expected_layout.py",
               "what NumPy says operators give")
