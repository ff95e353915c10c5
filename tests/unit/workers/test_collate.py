import torch

from stoker_workers.models.adapters.collate import cut, freeze, stack

ROWS = [
    {"ids": torch.tensor([[1, 2, 3]]), "mask": torch.ones(1, 3)},
    {"ids": torch.tensor([[4]]), "mask": torch.ones(1, 1)},
]


def test_padding_right() -> None:
    batch = stack(ROWS, {"ids": 9}, "right")
    assert batch["ids"].tolist() == [[1, 2, 3], [4, 9, 9]]
    assert batch["mask"].tolist() == [[1, 1, 1], [1, 0, 0]]


def test_padding_left() -> None:
    assert stack(ROWS, {"ids": 9}, "left")["ids"].tolist() == [[1, 2, 3], [9, 9, 4]]


def test_vectors_are_padded_along_their_second_axis() -> None:
    rows = [{"x": torch.ones(1, 2, 3)}, {"x": torch.ones(1, 4, 3)}]
    assert stack(rows)["x"].sum(dim=(1, 2)).tolist() == [6.0, 12.0]


def test_cutting_undoes_padding() -> None:
    for side in ("left", "right"):
        batch = stack(ROWS, {"ids": 9}, side)["ids"]
        assert cut(batch, 1, 1, side).tolist() == [[4]]
        assert cut(batch, 0, 3, side).tolist() == [[1, 2, 3]]
        assert cut(batch, 0, 0, side).shape == (1, 0)


def test_equal_values_have_equal_stand_ins() -> None:
    assert freeze({"a": [1, 2], "b": None}) == freeze({"b": None, "a": (1, 2)})
    assert freeze({"a": 1}) != freeze({"a": 2})
    assert len({freeze(1), freeze(1.0), freeze(True)}) == 3
    assert isinstance(hash(freeze({"a": {"b": [{"c": 1}]}})), int)
