"""Two lines in a training loop of your own: the data loader and the network are watched, the rest stays as it is.

watch = aum.watch(network, loader, stop=30)     # instead of nothing
for epoch in range(30):
    for x, y in watch:                          # instead of `in loader`
        loss = criterion(network(x), y)
        ...
print(watch.record.table())                     # id = index in loader.dataset
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from theory import checks
from theory.aum.accumulator import Accumulator


class Watch:
    """A data loader that shows the network's training forward passes to an accumulator.

    Iterating yields what the loader yields. Of each batch, the first forward pass of the network in training mode is
    recorded, with the labels of the batch and the samples' indices in the data set; forward passes in evaluation mode,
    or between two batches' labels, are not.

    Args:
        network: any module that returns logits (m, c) for a batch.
        loader: with a map-style data set whose items are (input, label), or whose batches `labels` can read.
        stop: the last epoch that counts; see `Accumulator`.
        skip: how many of the first epochs to leave out.
        labels: batch -> labels (m,); left out: the batch's second entry.
        logits: what the network returns -> logits (m, c); left out: the network returns them.

    Attributes:
        record: the `Accumulator`.

    Raises:
        InvalidInput: an iterable-style data set, which has no indices; a loader that drops its last batch; on the way,
            a batch that the network did not see, or what `Accumulator.update` refuses.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        loader: DataLoader,
        *,
        stop: int,
        skip: int = 0,
        labels: Callable[[Any], Any] | None = None,
        logits: Callable[[Any], Any] | None = None,
    ) -> None:
        if not isinstance(loader, DataLoader):
            checks.fail("loader", "a torch DataLoader", type(loader).__name__, "or call Accumulator.update yourself")
        if isinstance(loader.dataset, torch.utils.data.IterableDataset) or loader.batch_sampler is None:
            checks.fail("loader", "batches of a map-style data set", "others", "AUM needs the index of every sample")
        if getattr(loader, "drop_last", False):
            checks.fail("loader", "drop_last=False", "True", "every epoch must show every sample")
        self.record = Accumulator(stop=stop, skip=skip)
        self._labels = labels or _second
        self._logits = logits
        self._pending: tuple[Any, Any] | None = None
        self._loader = _with_indices(loader)
        self._hook = network.register_forward_hook(self._after)

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        if not self.record.between_epochs:
            remedy = "go through the loader to its end in every epoch"
            checks.fail("epoch", "the last one to be complete", "one that ended early", remedy)
        for batch, indices in self._loader:
            self._pending = self._labels(batch), indices
            yield batch
            if self._pending is not None:
                got = "none in training mode"
                checks.fail("batch", "one forward pass of the watched network", got, "call network.train() and network")
        self.record.end_epoch()

    def close(self) -> None:
        """Stop watching the network."""
        self._hook.remove()

    def _after(self, network: torch.nn.Module, inputs: Any, outputs: Any) -> None:
        if self._pending is None or not network.training:
            return
        (labels, indices), self._pending = self._pending, None
        if self._logits is None and not isinstance(outputs, torch.Tensor):
            remedy = "say where the logits are: logits=lambda outputs: outputs.logits"
            checks.fail("network", "logits, a tensor", type(outputs).__name__, remedy)
        self.record.update(self._logits(outputs) if self._logits else outputs, labels, indices)


def _second(batch: Any) -> Any:
    if not isinstance(batch, (list, tuple)) or len(batch) < 2:
        remedy = "say where the labels are: labels=lambda batch: batch['labels']"
        checks.fail("batch", "(inputs, labels)", type(batch).__name__, remedy)
    return batch[1]


def watch(network: torch.nn.Module, loader: DataLoader, *, stop: int, skip: int = 0, **options: Any) -> Watch:
    """Watch a network and the loader that it trains on; see `Watch`, whose arguments these are."""
    return Watch(network, loader, stop=stop, skip=skip, **options)


class _Indexed(Dataset):
    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[index], int(index)


class _Collate:
    def __init__(self, collate: Callable[[list[Any]], Any]) -> None:
        self.collate = collate

    def __call__(self, items: list[Any]) -> Any:
        return self.collate([item for item, _ in items]), [index for _, index in items]


def _with_indices(loader: DataLoader) -> DataLoader:
    """The same loader, batch by batch, that says which samples a batch holds."""
    workers: dict[str, Any] = {}
    if loader.num_workers:
        names = ("prefetch_factor", "persistent_workers", "multiprocessing_context", "timeout", "worker_init_fn")
        workers = {name: getattr(loader, name) for name in names}
    return DataLoader(
        _Indexed(loader.dataset),
        batch_sampler=loader.batch_sampler,
        collate_fn=_Collate(loader.collate_fn),
        num_workers=loader.num_workers,
        pin_memory=loader.pin_memory,
        generator=loader.generator,
        **workers,
    )
