"""Make the environment of the Makefile ready: `python3 .ci/environment.py VENV core|test`.

An environment that this script built (it carries a mark) is kept in step with pyproject.toml and constraints.txt, and
is built again when its installation was interrupted or it was moved. Any other environment belongs to its owner: it is
used as it stands, gets at most theorycheck itself (without dependencies), and what it lacks is named and left to them.
Standard library only, and Python 3.8 can read it, to be told that it is too old.
"""

import hashlib
import importlib.metadata
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST = (3, 11)


def main(venv: Path, needs: str) -> None:
    """Leave `venv` with an interpreter that can run the project (`core`), or its checks too (`test`)."""
    python, mark = venv / "bin" / "python", venv / ".theorycheck"
    if mark.exists():
        built = mark.read_text()
        if built == place(python) + inputs():
            return
        if not built.startswith(place(python)):  # interrupted, moved, or its interpreter is gone
            build(venv, python, mark)
        install(python, mark)
    elif python.exists():
        use(python, needs)
    elif venv.exists() and any(venv.iterdir()) and not (venv / "pyvenv.cfg").exists():
        sys.exit(f"VENV={venv}: expected an environment or an empty place, got a folder of other files; name another")
    else:
        build(venv, python, mark)
        install(python, mark)


def place(python: Path) -> str:
    """What an environment can't survive a change of: where it lies, the project it was built for, its interpreter."""
    interpreter = os.path.realpath(python) if python.exists() else None
    return f"{python.absolute()}\n{ROOT}\n{interpreter}\n"


def inputs() -> str:
    """A digest of the two files that say what is installed."""
    files = (ROOT / "pyproject.toml", ROOT / "constraints.txt")
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


def build(venv: Path, python: Path, mark: Path) -> None:
    """Create an empty environment. The mark comes first and stays, so that an interruption shows on the next call."""
    if sys.version_info < OLDEST:
        sys.exit(
            f"python: expected at least {OLDEST[0]}.{OLDEST[1]}, got {sys.version.split()[0]} at {sys.executable}; "
            "name a newer one: make PYTHON=python3.12 ..."
        )
    print(f"Building {venv}: a few minutes, once.", flush=True)
    venv.mkdir(parents=True, exist_ok=True)
    mark.write_text("unfinished\n")
    for child in venv.iterdir():
        if child != mark:
            shutil.rmtree(child) if child.is_dir() and not child.is_symlink() else child.unlink()
    if subprocess.run([sys.executable, "-m", "venv", venv]).returncode:
        sys.exit(f"VENV={venv}: python3 -m venv failed (see above); mend that and run make again")


def install(python: Path, mark: Path) -> None:
    """Install the project with its test tools at the pinned versions, then sign the mark."""
    before = mark.read_text()
    mark.write_text("unfinished\n")
    requirements = ("--editable", f"{ROOT}[test,gpu]", "--constraint", str(ROOT / "constraints.txt"))
    status = subprocess.run([python, "-m", "pip", "install", *requirements]).returncode
    if status > 0:  # pip refused and said why; it was not cut short, so what worked before still does
        mark.write_text(before)
    if status:
        sys.exit("pip could not install theorycheck (see above); mend that and run make again")
    mark.write_text(place(python) + inputs())


def use(python: Path, needs: str) -> None:
    """Check somebody's own environment; install theorycheck alone where it is not there yet."""
    report = subprocess.run([python, __file__, "--lacking", needs], stdout=subprocess.PIPE, text=True)
    lacking = report.stdout.splitlines()
    if report.returncode:
        sys.exit(f"{python}: could not be asked what it has installed (see above); it needs Python >= 3.11")
    if wanted := [line for line in lacking if line != "theorycheck"]:
        line = shlex.join([str(python), "-m", "pip", "install", *wanted])
        sys.exit(
            f"{python} is not ours to change. It lacks {', '.join(wanted)}; install with:\n  {line}\n"
            "or name a VENV that does not exist, and make builds it"
        )
    if lacking:
        command = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--editable", ROOT]
        if subprocess.run(command).returncode:
            print("theorycheck could not be installed there (see above); running from the source tree", flush=True)


def lacking(needs: str) -> "list[str]":
    """The requirements that the running interpreter does not meet, by the lower bounds of pyproject.toml."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + (project["optional-dependencies"]["test"] if needs == "test" else [])
    return [requirement for requirement in [*wanted, project["name"]] if not met(requirement)]


def met(requirement: str) -> bool:
    """Whether `name>=1.2` is installed, new enough."""
    name, _, bound = requirement.partition(">=")
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return numbers(version) >= numbers(bound)


def numbers(version: str) -> "list[int]":
    """The leading numbers of a version: 2.13.0+cpu is [2, 13, 0]."""
    return [int(part) for part in re.match(r"[\d.]*", version)[0].split(".") if part]


if __name__ == "__main__":
    if sys.argv[1] == "--lacking":
        for requirement in lacking(sys.argv[2]):
            print(requirement)
    else:
        try:
            main(Path(sys.argv[1]), sys.argv[2])
        except KeyboardInterrupt:
            sys.exit(130)
