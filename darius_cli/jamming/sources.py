"""Where a jam's music comes from: a model in this process, or a server. Knows no terminal and no loudspeaker."""

from __future__ import annotations

import base64
import dataclasses
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from darius.audio.waveform import Samples, Waveform
from darius.errors import BadAudio, Busy, DariusError, DownloadFailed, InvalidOption
from darius.style.mix import WeightedText
from darius_cli.jamming.typed import Change

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from darius.engine import Model

COMPILING_SECONDS = 600.0
"""A first chunk may have to wait for compilation."""
POLL_SECONDS = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wish:
    """How a jam begins; `turned` gives it after a change."""

    bpm: str
    beats_per_bar: int
    bars_per_chunk: int
    rate: int
    seed: int
    loudness: str
    styles: tuple[WeightedText, ...] = ()
    loop_weight: float = 1.0
    temperature: float = 1.1
    top_k: int = 40
    guidance: float = 1.1

    def turned(self, change: Change) -> Wish:
        """The wish after a change."""
        changed = {name: value for name, value in dataclasses.asdict(change).items() if value is not None}
        if change.styles is not None:
            changed["styles"] = change.styles
        return dataclasses.replace(self, **changed)


class Source(Protocol):
    """A running jam. `chunk` is called by one thread, the others by any."""

    def chunk(self) -> Samples:
        """The next bars, float32 [n, 2]; waits for them."""
        ...

    def update(self, wish: Wish) -> None:
        """Plays like this from the next chunk on; styles glide in."""
        ...

    def reseed(self, loop: Path) -> None:
        """Goes on from this loop, bar on bar."""
        ...

    def close(self) -> None:
        """Ends the jam."""
        ...


class OwnModel:
    """A jam with a model in this process.

    Raises (from its start): BadAudio, InvalidOption.
    """

    def __init__(self, model: Model, loop: Waveform, wish: Wish) -> None:
        from darius.batching import Conductor
        from darius.jam import Dials, Jam, JamSettings

        self._conductor = Conductor(model, buckets=(1,))
        settings = JamSettings(
            bpm=wish.bpm,
            beats_per_bar=wish.beats_per_bar,
            bars_per_chunk=wish.bars_per_chunk,
            rate=wish.rate,
            loudness=wish.loudness,  # type: ignore[arg-type]  # the settings refuse anything else with a sentence
        )
        dials = Dials(guidance=wish.guidance, temperature=wish.temperature, top_k=wish.top_k)
        self._jam = self._conductor.run(
            lambda: Jam.start(model, settings, loop=loop, style=_request(wish), dials=dials, seed=wish.seed)
        ).result()

    def chunk(self) -> Samples:
        jam = self._jam
        if jam.pending:
            self._conductor.run(jam.settle).result()
        while jam.frames_needed():
            jam.feed(self._conductor.advance(*jam.call()).result())
        chunk = jam.cut()
        assert chunk is not None  # no frames were missing
        return chunk.samples

    def update(self, wish: Wish) -> None:
        from darius.jam import Dials

        dials = Dials(guidance=wish.guidance, temperature=wish.temperature, top_k=wish.top_k)
        self._jam.update(dials=dials, style=_request(wish))

    def reseed(self, loop: Path) -> None:
        from darius.audio import files

        self._jam.reseed(files.load(loop))

    def close(self) -> None:
        self._conductor.close()


class OnServer:
    """A jam on a Darius server, over HTTP.

    Args:
      url: where it is, with or without a path.
      loop: a file that the server can read.

    Raises (from its start): DownloadFailed when it cannot be reached, Busy when it is full, InvalidOption or BadAudio
    when it refuses.
    """

    def __init__(self, url: str, loop: Path, wish: Wish, *, api_key: str = "") -> None:
        import httpx

        headers = {"X-API-Key": api_key} if api_key else {}
        base = url if "://" in url else f"http://{url}"
        self._url = base
        self._client = httpx.Client(base_url=base, headers=headers, timeout=120.0)
        fields = _fields(wish) | {
            "bpm": wish.bpm,
            "beats_per_bar": str(wish.beats_per_bar),
            "bars_per_chunk": str(wish.bars_per_chunk),
            "target_sample_rate": str(wish.rate),
            "loudness_mode": wish.loudness,
            "seed": str(wish.seed),
        }
        self.session_id: str = self._call("POST", "jam/start", data=fields, files=_file(loop))["session_id"]

    def chunk(self) -> Samples:
        import soundfile

        chunk = next(self._answers())["chunk"]
        samples: Samples = soundfile.read(
            io.BytesIO(base64.b64decode(chunk["audio_base64"])), dtype="float32", always_2d=True
        )[0]
        # Whoever plays this has a queue of its own and asks when there is room: the server may go on at once.
        self._call("POST", "jam/consume", data={"session_id": self.session_id, "chunk_index": chunk["index"]})
        return samples

    def update(self, wish: Wish) -> None:
        self._call("POST", "jam/update", data=_fields(wish) | {"session_id": self.session_id})

    def reseed(self, loop: Path) -> None:
        self._call("POST", "jam/reseed", data={"session_id": self.session_id}, files=_file(loop, "loop_audio"))

    def close(self) -> None:
        import httpx

        try:
            self._client.post("jam/stop", json={"session_id": self.session_id})
        except httpx.HTTPError:
            pass  # it is gone, and its jams with it
        finally:
            self._client.close()

    def _answers(self) -> Iterator[dict[str, Any]]:
        """Polls until the next chunk is there."""
        waited = 0
        while True:
            query = {"session_id": self.session_id, "timeout_seconds": str(POLL_SECONDS)}
            response = self._send("GET", "jam/next", params=query)
            if response.status_code == 200:
                yield response.json()
                return
            waited += POLL_SECONDS
            if response.status_code != 408 or waited > COMPILING_SECONDS:
                raise _refusal(response)

    def _call(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        response = self._send(method, path, **body)
        if response.status_code != 200:
            raise _refusal(response)
        answer: dict[str, Any] = response.json()
        return answer

    def _send(self, method: str, path: str, **body: Any) -> httpx.Response:
        import httpx

        try:
            return self._client.request(method, path, **body)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise DownloadFailed(
                f"The server {self._url} cannot be reached: {error}.", "Is `darius serve` running there?"
            ) from None


def _request(wish: Wish) -> Any:
    from darius.style.mix import StyleRequest

    return StyleRequest(texts=wish.styles, loop_weight=wish.loop_weight)


def _fields(wish: Wish) -> dict[str, str]:
    return {
        "styles": ",".join(text.replace(",", " ") for text, _ in wish.styles),
        "style_weights": ",".join(f"{weight:g}" for _, weight in wish.styles),
        "loop_weight": f"{wish.loop_weight:g}",
        "temperature": f"{wish.temperature:g}",
        "topk": str(wish.top_k),
        "guidance_weight": f"{wish.guidance:g}",
    }


def _file(loop: Path, field: str = "loop_audio") -> dict[str, tuple[str, bytes]]:
    if not loop.is_file():
        raise BadAudio(f"There is no file '{loop}'.", "Give the path of an audio file.")
    return {field: (loop.name, loop.read_bytes())}


def _refusal(response: httpx.Response) -> DariusError:
    """The server's own sentence."""
    try:
        answer = response.json()
    except ValueError:
        answer = {}
    sentence = answer.get("error") or f"The server answered {response.status_code}."
    if response.status_code in (429, 503):
        return Busy(sentence)
    if response.status_code in (413, 415) or answer.get("code") == "bad_audio":
        return BadAudio(sentence)
    return InvalidOption(sentence)
