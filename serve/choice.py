"""Which model a client or the environment asks for, checked against what the owner allows. Loads nothing.

A `Choice` is a model's name for `darius.load` with the parts that clients know it by.
"""

from __future__ import annotations

import dataclasses
import fnmatch
from pathlib import Path

from darius.errors import InvalidOption
from darius.hub import parse
from serve.errors import Refused
from serve.settings import Settings

MAIN = "main"
NONE, LATEST = "none", "latest"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """A model that may be loaded.

    Attributes:
      name: for `darius.load`.
      size: as asked for; what is loaded tells its own.
      repo: of a finetune, on the hub; None otherwise.
      folder: of a finetune, on this machine; None otherwise.
      revision: of the repository.
      step: asked for; None for the newest, or for a stock model.
      assets: where mean and centroids come from: a repository, a folder, or None for nowhere.
    """

    name: str
    size: str
    repo: str | None = None
    folder: Path | None = None
    revision: str = MAIN
    step: int | None = None
    assets: str | Path | None = None

    @property
    def place(self) -> str | Path | None:
        """The finetune's repository or folder."""
        return self.folder or self.repo


@dataclasses.dataclass(frozen=True, kw_only=True)
class Allowed:
    """What the server's owner lets clients select.

    Attributes:
      root: folder that local models lie in; None for no local models.
      repos: patterns such as "someone/*"; empty for every repository.
    """

    root: Path | None = None
    repos: tuple[str, ...] = ()

    @classmethod
    def by(cls, settings: Settings) -> Allowed:
        """What these settings allow; their own repositories always are."""
        listed = [repo.strip() for repo in settings.allow_repo.split(",") if repo.strip()]
        own = [repo for repo in (settings.repo, settings.assets_repo) if repo]
        root = Path(settings.model_root).expanduser().resolve() if settings.model_root else None
        return cls(root=root, repos=(*listed, *own) if listed else ())

    def place(self, name: str) -> str | Path:
        """A repository's name, or the folder on this machine, of what a client calls `repo_id`.

        Raises:
          Refused: 403 for what the owner does not allow.
          InvalidOption: it can be neither.
        """
        inside = self._inside(name)
        if inside is not None:
            return inside
        ref = parse(name if name.startswith("hf:") else f"hf:{name}")
        if ref.step is not None or ref.revision is not None:
            raise InvalidOption(f"'{name}' is not a repository.", "Give step and revision in their own fields.")
        repo = str(ref.repo)
        if self.repos and not any(fnmatch.fnmatchcase(repo, pattern) for pattern in self.repos):
            raise Refused(
                f"This server does not load {repo}.",
                f"It loads: {', '.join(self.repos)}.",
                status=403,
                code="repo_not_allowed",
            )
        return repo

    def _inside(self, name: str) -> Path | None:
        """The path below the root that a name means; None for what is no path."""
        looks_local = name.startswith(("/", ".", "~")) or "\\" in name or name.count("/") > 1
        if self.root is None:
            if looks_local:
                raise Refused(
                    "This server loads no local models.",
                    "Its owner can allow a folder.",
                    status=403,
                    code="no_local_models",
                )
            return None
        try:
            path = (self.root / Path(name).expanduser()).resolve()
            there = path.is_relative_to(self.root) and path.exists()
        except (OSError, ValueError, RuntimeError):
            there = False
        if there:
            return path
        if looks_local:
            raise Refused(f"There is no model '{name}' on this server.", status=404, code="model_not_found")
        return None


def stock(size: str) -> Choice:
    """A model by its own name: tiny, base, large, or another that needs no repository.

    Raises:
      InvalidOption: it is none.
    """
    if parse(size).kind in ("path", "hub"):
        raise InvalidOption(f"There is no model size '{size}'.", "Choose tiny, base or large.")
    return Choice(name=size, size=size)


def finetune(
    place: str | Path, *, size: str, step: int | None, revision: str = MAIN, assets: str | Path | None = None
) -> Choice:
    """A finetune's checkpoint, the newest if `step` is None."""
    number = "" if step is None else f"#{step}"
    if isinstance(place, Path):
        return Choice(name=f"{place}{number}", size=size, folder=place, step=step, assets=assets)
    at = "" if revision == MAIN else f"@{revision}"
    name = f"hf:{place}{at}{number}"
    parse(name)  # refuses a revision that is none
    return Choice(name=name, size=size, repo=place, revision=revision, step=step, assets=assets)


def parse_step(step: str | int | None) -> int | str | None:
    """NONE, LATEST, a number, or None for not given.

    Raises:
      InvalidOption: anything else.
    """
    text = str(step or "" if step != 0 else 0).strip().lower()
    if text in ("", NONE, LATEST):
        return text or None
    if text.isascii() and text.isdigit() and len(text) <= 12:
        return int(text)
    raise InvalidOption(f"There is no step '{step}'.", "Give a number, latest or none.")


def choose(
    *,
    size: str | None,
    repo: str | None,
    step: str | int | None,
    revision: str | None,
    assets_repo: str | None,
    sync_assets: bool,
    now: Choice | None,
    allowed: Allowed,
) -> Choice:
    """The model that a select asks for. Arguments are the fields of POST /model/select.

    Args:
      now: what is loaded: its repository is meant where only a step is given.

    Raises:
      InvalidOption: the fields make no sense together.
      Refused: the owner does not allow it.
    """
    wanted = parse_step(step)
    if wanted == NONE or (repo is None and size is not None and not isinstance(wanted, int)):
        return stock(size or (now.size if now else "") or "large")
    place = allowed.place(repo) if repo is not None else now.place if now is not None else None
    if place is None:
        raise InvalidOption("repo_id is missing.", "Say which repository to load from, or step none with a size.")
    revision = revision or (MAIN if repo is not None or now is None else now.revision)
    assets: str | Path | None = None
    if sync_assets:
        assets = allowed.place(assets_repo) if assets_repo else place
    number = wanted if isinstance(wanted, int) else None
    return finetune(place, size=size or "", step=number, revision=revision, assets=assets)


def at_start(settings: Settings) -> Choice:
    """The model of the settings. Raises InvalidOption if they make no sense together."""
    if not (settings.size or settings.repo):
        return _named(settings.model, settings.assets_repo or None)
    return choose(
        size=settings.size or None,
        repo=settings.repo or None,
        step=settings.step,
        revision=settings.revision or None,
        assets_repo=settings.assets_repo or None,
        sync_assets=True,
        now=None,
        allowed=Allowed(),
    )


def _named(name: str, assets: str | None) -> Choice:
    """A model by a name as the command line takes it."""
    ref = parse(name)
    if ref.kind == "hub" and ref.explicit:
        repo = str(ref.repo)
        return finetune(repo, size="", step=ref.step, revision=ref.revision or MAIN, assets=assets or repo)
    path = ref.path.expanduser() if ref.path is not None else None
    folder = path if path is not None and path.exists() else None
    return Choice(name=name, size=name, folder=folder, step=ref.step, assets=assets or folder)
