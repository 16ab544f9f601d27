"""The state of a run in one file, written whole or not at all; plain arrays and JSON, no pickle."""

import hashlib
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from theory import checks
from theory.files import replacing

_ANEW = "remove it to begin anew, or name another file"


@dataclass(frozen=True)
class Checkpoint:
    """Where and how often a run is kept.

    Attributes:
        path: of the file, npz.
        every: rounds between writes.
        settings: of the run, as JSON; a file with others is refused. They don't cover data and losses.
    """

    path: Path
    every: int
    settings: dict[str, Any]

    def save(
        self,
        start: Tensor,
        w: Tensor,
        parameters: dict[str, Tensor],
        optimisers: dict[str, torch.optim.Optimizer],
        rows: Sequence[Sequence[float]],
    ) -> None:
        """Write everything.

        Args:
            start: first weights (p,), to recognise the run by.
            w: present ones (p,).
            parameters: of the commentary.
            optimisers: by name.
            rows: of the history, one per round.

        Raises:
            InvalidInput: an optimiser that keeps something other than tensors (LBFGS).
            OSError: the file can't be written; an older one stays as it was.
        """
        arrays = {"history": np.array(rows, dtype=float), "w": _array(w)}
        arrays |= {f"phi/{name}": _array(parameter) for name, parameter in parameters.items()}
        for name, optimiser in optimisers.items():
            for number, entries in optimiser.state_dict()["state"].items():
                for key, value in entries.items():
                    if not isinstance(value, Tensor):
                        got = f"{key}: {type(value).__name__} in {type(optimiser).__name__}"
                        checks.fail(f"{name} optimiser", "a state of tensors", got, "use Adam, or no checkpoint")
                    arrays[f"{name}/{number}/{key}"] = _array(value)
        header = json.dumps(self._header(start, parameters, optimisers) | {"arrays": _kinds(arrays)})
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.path) as part, part.open("wb") as file:
            np.savez(file, header=np.array(header), **arrays)  # type: ignore[arg-type]

    def load(
        self,
        start: Tensor,
        w: Tensor,
        parameters: dict[str, Tensor],
        optimisers: dict[str, torch.optim.Optimizer],
    ) -> list[tuple[Any, ...]]:
        """Put everything back in place; the rows of the history, none where there is no file.

        Raises:
            InvalidInput: a damaged file, or that of another run.
        """
        if not self.path.exists():
            return []
        try:
            with self.path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                stored = {name: file[name] for name in file.files}
            header = json.loads(str(stored.pop("header")))
            if header["arrays"] != _kinds(stored):
                raise ValueError("arrays that are not those it was written with")
        except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
            checks.fail(f"checkpoint {self.path}", "a file written by this function", error, _ANEW)
        wanted = json.loads(json.dumps(self._header(start, parameters, optimisers)))
        for key in wanted:
            if header.get(key) != wanted[key]:
                what = f"checkpoint {self.path}, {key}"
                checks.fail(what, wanted[key], header.get(key), f"it is of another run: {_ANEW}")
        with torch.no_grad():
            w.copy_(torch.from_numpy(stored["w"]))
            for name, parameter in parameters.items():
                parameter.copy_(torch.from_numpy(stored[f"phi/{name}"]))
        for name, optimiser in optimisers.items():
            state: dict[int, dict[str, Tensor]] = {}
            for key, array in stored.items():
                prefix, *rest = key.split("/")
                if prefix == name:
                    state.setdefault(int(rest[0]), {})[rest[1]] = torch.from_numpy(array)
            optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
            for number, entries in optimiser.state_dict()["state"].items():  # torch casts them to the parameters' type
                entries.update({key: kept.to(entries[key].device) for key, kept in state[number].items()})
        return [(*row[:4], int(row[4]), row[5]) for row in stored["history"].tolist()]

    def _header(
        self, start: Tensor, parameters: dict[str, Tensor], optimisers: dict[str, torch.optim.Optimizer]
    ) -> dict[str, Any]:
        groups = {
            name: [type(optimiser).__name__, json.dumps(optimiser.state_dict()["param_groups"], default=str)]
            for name, optimiser in optimisers.items()
        }
        return {
            "settings": json.loads(json.dumps(self.settings, default=str)),
            "shapes": {name: [str(parameter.dtype), *parameter.shape] for name, parameter in parameters.items()},
            "optimisers": groups,
            "first weights": hashlib.blake2b(_array(start).tobytes(), digest_size=16).hexdigest(),
        }


def _kinds(arrays: dict[str, np.ndarray]) -> dict[str, list[Any]]:
    return {name: [str(array.dtype), *array.shape] for name, array in arrays.items()}


def _array(tensor: Tensor) -> np.ndarray:
    array: np.ndarray = tensor.detach().cpu().numpy()
    return array
