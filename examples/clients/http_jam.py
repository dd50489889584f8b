"""A jam over HTTP: start, take chunks as they are due, change the style on the way, stop.

darius serve &
python examples/clients/http_jam.py examples/loops/loop_garzul.flac --bpm 120 --chunks 4
"""

import argparse
import base64
from pathlib import Path

import httpx

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("loop", type=Path)
parser.add_argument("--server", default="http://127.0.0.1:7860")
parser.add_argument("--bpm", default="120")
parser.add_argument("--chunks", type=int, default=4)
parser.add_argument("--bars-per-chunk", default="2")
parser.add_argument("--out", type=Path, default=Path(), help="folder for jam_000.wav, jam_001.wav, ...")
args = parser.parse_args()

client = httpx.Client(base_url=args.server, timeout=120)


def call(method: str, path: str, **more) -> dict:
    """The answer of the server; its own sentence ends the program when it refuses."""
    while True:
        response = client.request(method, path, **more)
        if response.status_code == 200:
            return response.json()
        if response.status_code != 408:  # 408: the chunk is not ready yet, ask again
            raise SystemExit(response.json()["error"])


session = call(
    "POST",
    "/jam/start",
    data={"bpm": args.bpm, "bars_per_chunk": args.bars_per_chunk, "styles": "dub techno"},
    files={"loop_audio": args.loop.read_bytes()},
)["session_id"]
try:
    for _ in range(args.chunks):
        chunk = call("GET", "/jam/next", params={"session_id": session})["chunk"]
        path = args.out / f"jam_{chunk['index']:03d}.wav"
        path.write_bytes(base64.b64decode(chunk["audio_base64"]))
        print(f"{path}: {chunk['metadata']['total_samples']} samples from {chunk['metadata']['start_sample']}")
        # A player says this when the chunk begins to sound; the next one is released then.
        call("POST", "/jam/consume", data={"session_id": session, "chunk_index": chunk["index"]})
        if chunk["index"] == 0:
            call(
                "POST", "/jam/update", data={"session_id": session, "styles": "breakbeat, piano", "temperature": "1.3"}
            )
finally:
    call("POST", "/jam/stop", json={"session_id": session})
