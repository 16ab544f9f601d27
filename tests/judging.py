"""How tests read a table of verdicts: the status of one member, and that member judged on other measurements."""

from theory.verdict import combine


def judged(verdicts, name):
    """The statuses of one member, all its rows together."""
    rows = [verdict for verdict in verdicts if verdict.claim.id == name]
    assert rows, f"{name} was not judged"
    return combine(status for row in rows for status in row.statuses.flat)


def again(verdicts, name, **changed):
    """One member judged on the same measurements but for those given."""
    [row] = [verdict for verdict in verdicts if verdict.claim.id == name]
    return row.claim.check(**{**row.inputs, **changed})
