"""Two lines in a loop of one's own: the same table as by hand, whatever the loader; loops that can't be watched."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, StackDataset, TensorDataset

from theory import aum
from theory.aum import Accumulator
from theory.checks import InvalidInput
from theory.margin import margins

X = torch.randn(23, 5, generator=torch.Generator().manual_seed(0))
Y = torch.arange(23) % 3


def network():
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))


def train(net, batches, after=lambda: None):
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    for batch in batches:
        x, y = batch[0], batch[1]
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(net(x), y).backward()
        optimiser.step()
        after()


def by_hand(epochs, batch, shuffle, skip=0):
    data = TensorDataset(X, Y, torch.arange(23))
    loader = DataLoader(data, batch_size=batch, shuffle=shuffle, generator=torch.Generator().manual_seed(7))
    net, record = network(), Accumulator(stop=epochs, skip=skip)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(epochs):
        for x, y, ids in loader:
            logits = net(x)
            record.update(logits, y, ids)
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(logits, y).backward()
            optimiser.step()
        record.end_epoch()
    return record.table()


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("batch", [1, 4, 23])
def test_same_table_as_by_hand(shuffle, batch):
    net = network()
    loader = DataLoader(TensorDataset(X, Y), batch, shuffle=shuffle, generator=torch.Generator().manual_seed(7))
    watch = aum.watch(net, loader, stop=3, skip=1)
    for _ in range(3):
        train(net, watch)
    assert len(watch) == len(loader) and watch.record.done
    pd.testing.assert_frame_equal(watch.record.table(), by_hand(3, batch, shuffle, skip=1), check_exact=True)


def test_training_may_go_on_after_the_stop_and_validation_is_not_seen():
    net = network()
    watch = aum.watch(net, DataLoader(TensorDataset(X, Y), 6), stop=1)

    def validate():
        net.eval()
        with torch.no_grad():
            net(X)
        net.train()

    train(net, watch, after=validate)
    first = watch.record.table()
    train(net, watch)
    net(X)  # between epochs
    pd.testing.assert_frame_equal(watch.record.table(), first, check_exact=True)
    watch.close()
    assert not net._forward_hooks


def test_labels_may_lie_elsewhere_and_workers_may_load():
    net = network()
    # spawned: what a test before this one computed on threads may leave a forked worker hanging
    loader = DataLoader(StackDataset(label=Y, x=X), 8, num_workers=1, multiprocessing_context="spawn", timeout=100)
    watch = aum.watch(net, loader, stop=1, labels=lambda batch: batch["label"])
    for batch in watch:
        net(batch["x"])
    found = watch.record.table().set_index("id")["aum"].sort_index()
    np.testing.assert_allclose(found.to_numpy(), margins(network()(X), Y).numpy(), rtol=1e-6, atol=1e-6)


def test_loops_that_can_not_be_watched():
    class Stream(IterableDataset):
        def __iter__(self):
            yield from range(3)

    net = network()
    for loader in (DataLoader(Stream()), DataLoader(TensorDataset(X, Y), 4, drop_last=True)):
        with pytest.raises(InvalidInput, match="loader"):
            aum.watch(net, loader, stop=1)
    watch = aum.watch(net, DataLoader(TensorDataset(X, Y), 4), stop=2)
    with pytest.raises(InvalidInput, match="none in training mode"):
        for _ in watch:
            pass
    with pytest.raises(InvalidInput, match="ended early"):  # the loop was left in mid-epoch
        for number, (x, _) in enumerate(watch):
            net(x)
            if number == 2:
                break
        train(net, watch)


def test_what_is_recorded_is_the_training_forward_pass():
    net = network()
    watch = aum.watch(net, DataLoader(TensorDataset(X, Y), 23), stop=1)
    before = net(X).detach().numpy()
    train(net, watch)
    own = before[np.arange(23), Y]
    rest = np.where(np.eye(3)[Y] == 1, -np.inf, before).max(axis=1)
    table = watch.record.table().set_index("id")["aum"].sort_index()
    np.testing.assert_allclose(table.to_numpy(), own - rest, rtol=1e-6, atol=1e-6)


def test_dictionaries_are_explained_and_can_be_read():
    class Wrapped(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network()

        def forward(self, x):
            return {"logits": self.inner(x)}

    loader = DataLoader([{"x": x, "labels": y} for x, y in zip(X, Y, strict=True)], 8)
    net = Wrapped()
    with pytest.raises(InvalidInput, match="labels=lambda"):
        next(iter(aum.watch(net, loader, stop=1)))
    watch = aum.watch(net, loader, stop=1, labels=lambda batch: batch["labels"])
    with pytest.raises(InvalidInput, match="logits=lambda"):
        net(next(iter(watch))["x"])
    watch.close()
    watch = aum.watch(
        net, loader, stop=1, labels=lambda batch: batch["labels"], logits=lambda outputs: outputs["logits"]
    )
    for batch in watch:
        net(batch["x"])
    assert len(watch.record.table()) == len(X)
