"""A run on Hugging Face: archives, steering files, pictures and a model card, compared first, then sent.

Raw checkpoint folders are never sent: thousands of small files that others cannot load when one is lost. A transfer
that breaks is begun again by the same call; files that arrived are not sent again. The hub's own client transfers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from darius.errors import InvalidOption, UploadFailed
from darius.hub.listing import network_errors
from darius.hub.names import parse
from darius.style.steering import CENTROIDS_FILE, MEAN_FILE
from finetune import card, packaging
from finetune.manifest import CLUSTERS_PICTURE
from finetune.packaging import Package
from finetune.places import Place
from finetune.runs import CURVES

CARD = "README.md"
State = Literal["new", "changed", "the same"]
OnProgress = Callable[[str, float], None]
_AGAIN = "Give the same command again: what has arrived is not sent again."


@dataclasses.dataclass(frozen=True, kw_only=True)
class Item:
    """A file to send: its name in the repository, its content (bytes) or where it is, and how the hub has it."""

    name: str
    source: Path | bytes
    size: int
    state: State


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What an upload will do.

    Attributes:
      repo: user/name; exists: whether it is there already.
      private: whether it is made private, when it is new.
      create_pr: whether a pull request is opened instead of a commit.
      items: every file, also those that the hub has already.
    """

    repo: str
    exists: bool
    private: bool
    create_pr: bool
    items: tuple[Item, ...]

    @property
    def sending(self) -> tuple[Item, ...]:
        return tuple(item for item in self.items if item.state != "the same")


def packages_of(place: Place, steps: Mapping[int, Path], on_progress: OnProgress | None = None) -> list[Package]:
    """The run's archives of these steps, made where there are none yet. Raises as `packaging.package`."""
    found = []
    for step, folder in steps.items():
        known = _known_package(place.archives / f"checkpoint_{step}{packaging.SUFFIX}", step)
        found.append(
            known
            or packaging.package(
                folder, place.archives, overwrite=True, about=card.facts(place, step), on_progress=on_progress
            )
        )
    return found


def _known_package(archive: Path, step: int) -> Package | None:
    """An archive that was packaged before; None if it is not there, or has changed since its manifest was written."""
    names = [field.name for field in dataclasses.fields(Package) if field.name != "path"]
    try:
        told = json.loads(archive.with_name(f"checkpoint_{step}.json").read_text(encoding="utf-8"))
        made = Package(path=archive, **{name: told[name] for name in names})
        with archive.open("rb") as file:
            same = hashlib.file_digest(file, "sha256").hexdigest() == made.sha256
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return made if same and made.step == step else None


def plan(
    place: Place,
    packages: Sequence[Package],
    repo: str,
    *,
    private: bool = False,
    create_pr: bool = False,
    with_card: bool = True,
    endpoint: str | None = None,
) -> Plan:
    """What an upload would do. Asks the hub what it has; sends nothing.

    Raises:
      InvalidOption: not a repository's name.
      UploadFailed: the hub cannot be reached or refuses.
    """
    _check_repo(repo)
    remote = _remote_digests(repo, endpoint)
    sources: dict[str, Path | bytes] = {package.path.name: package.path for package in packages}
    for name in (MEAN_FILE, CENTROIDS_FILE, CURVES):
        if (place.run.folder / name).is_file():
            sources[name] = place.run.folder / name
    clusters = place.run.folder.absolute().parent.parent / CLUSTERS_PICTURE
    if place.dataset() is not None and clusters.is_file():
        sources[CLUSTERS_PICTURE] = clusters
    if with_card:
        text = card.write(
            repo,
            place,
            packages,
            curves=CURVES in sources,
            clusters=CLUSTERS_PICTURE if CLUSTERS_PICTURE in sources else None,
        )
        sources[CARD] = text.encode()
    digests = {package.path.name: package.sha256 for package in packages}
    return Plan(
        repo=repo,
        exists=remote is not None,
        private=private,
        create_pr=create_pr,
        items=tuple(_item(name, source, remote or {}, digests.get(name)) for name, source in sources.items()),
    )


def send(planned: Plan, *, endpoint: str | None = None) -> str:
    """Does what the plan says; returns the address of the commit or the pull request.

    Raises:
      UploadFailed: no token, no right, or the transfer broke.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi(endpoint=endpoint, token=_token())
    with _explained(planned.repo):
        if not planned.exists and not planned.create_pr:
            api.create_repo(planned.repo, private=planned.private or None, exist_ok=True)
        operations = []
        for item in planned.sending:
            operation = CommitOperationAdd(path_in_repo=item.name, path_or_fileobj=item.source)
            # One by one, so that each file that arrived stays there when the next one breaks.
            api.preupload_lfs_files(
                planned.repo, [operation], create_pr=planned.create_pr, free_memory=False, num_threads=1
            )
            operations.append(operation)
        info = api.create_commit(
            planned.repo,
            operations,
            commit_message=_message(planned),
            create_pr=planned.create_pr,
        )
    return str(info.pr_url or info.commit_url)


def _message(planned: Plan) -> str:
    archives = [item.name for item in planned.sending if item.name.endswith(packaging.SUFFIX)]
    return f"Add {', '.join(archives)}" if archives else "Update the model card and steering files"


def _item(name: str, source: Path | bytes, remote: Mapping[str, str], sha256: str | None) -> Item:
    content = source if isinstance(source, bytes) else None
    size = len(content) if content is not None else Path(source).stat().st_size  # type: ignore[arg-type]
    if name not in remote:
        return Item(name=name, source=source, size=size, state="new")
    known = remote[name]
    if len(known) == 64:
        ours = sha256 or hashlib.sha256(_bytes(source)).hexdigest()
    else:
        ours = hashlib.sha1(b"blob %d\0" % size + _bytes(source)).hexdigest()
    return Item(name=name, source=source, size=size, state="the same" if ours == known else "changed")


def _bytes(source: Path | bytes) -> bytes:
    return source if isinstance(source, bytes) else source.read_bytes()


def _check_repo(repo: str) -> None:
    ref = parse(f"hf:{repo}") if "/" in repo else None
    if ref is None or ref.repo != repo:
        raise InvalidOption(f"'{repo}' is not a repository's name.", "Give --repo user/name.")


def _remote_digests(repo: str, endpoint: str | None) -> dict[str, str] | None:
    """File -> SHA-256 or git blob SHA-1 on the hub; None if there is no such repository (yet)."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    with _explained(repo):
        try:
            info = HfApi(endpoint=endpoint).model_info(repo, files_metadata=True, timeout=20)
        except RepositoryNotFoundError:
            return None
    files = info.siblings or []
    return {file.rfilename: str(file.lfs.sha256 if file.lfs else file.blob_id) for file in files}


def _token() -> str:
    from huggingface_hub import get_token

    token = get_token()
    if not token:
        raise UploadFailed(
            "You are not logged in to Hugging Face.",
            "Make a token with write access at https://huggingface.co/settings/tokens; then `hf auth login`, or set "
            "HF_TOKEN.",
        )
    return token


@contextlib.contextmanager
def _explained(repo: str) -> Iterator[None]:
    """Turns what the hub's client raises into one sentence."""
    failures: tuple[type[Exception], ...] = (RuntimeError, ValueError, *network_errors())
    try:
        yield
    except failures as error:
        raise _explain(error, repo) from None


def _explain(error: BaseException, repo: str) -> UploadFailed:
    cause: BaseException | None = error
    while cause is not None and not hasattr(cause, "response"):
        cause = cause.__cause__ or cause.__context__
    status = getattr(getattr(cause, "response", None), "status_code", None)
    if status == 401:
        return UploadFailed(
            "The hub does not accept your token, or there is no such repository.",
            "Log in again with `hf auth login`, or set HF_TOKEN to a token with write access; check the spelling.",
        )
    if status == 403:
        return UploadFailed(
            f"Your token may not write to {repo}.",
            "Use a token with write access to it, your own user name, or --create-pr to propose the files.",
        )
    if status == 404:
        return UploadFailed(f"There is no repository {repo} on the hub.", "Leave --create-pr out to make it.")
    if status == 429:
        return UploadFailed("The hub asks to slow down (429).", "Give the same command again in a few minutes.")
    if status is not None:
        return UploadFailed(f"The hub failed to take {repo} (HTTP {status}).", _AGAIN)
    return UploadFailed(f"The upload to {repo} broke off ({error}).", f"Check the connection. {_AGAIN}")
