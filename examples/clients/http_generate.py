"""Continue a loop by eight bars on a Darius server: one POST, and its progress while it runs.

darius serve &
python examples/clients/http_generate.py examples/loops/loop_garzul.flac --bpm 120
"""

import argparse
import base64
import threading
import uuid
from pathlib import Path

import httpx

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("loop", type=Path)
parser.add_argument("--server", default="http://127.0.0.1:7860")
parser.add_argument("--bpm", default="120")
parser.add_argument("--bars", default="8")
parser.add_argument("--styles", default="acid house, warm pads")
parser.add_argument("--style-weights", default="1.0, 0.5")
parser.add_argument("--out", type=Path, default=Path("continued.wav"))
args = parser.parse_args()

client = httpx.Client(base_url=args.server, timeout=600)
request_id = uuid.uuid4().hex
done = threading.Event()


def show_progress() -> None:
    while not done.wait(0.5):
        progress = client.get("/progress", params={"request_id": request_id}).json()
        print(f"{progress['percent']:3.0f} %  {progress['stage']}")


threading.Thread(target=show_progress, daemon=True).start()
response = client.post(
    "/generate",
    data={
        "bpm": args.bpm,
        "bars": args.bars,
        "styles": args.styles,
        "style_weights": args.style_weights,
        "request_id": request_id,
    },
    files={"loop_audio": args.loop.read_bytes()},
)
done.set()
answer = response.json()
if response.status_code != 200:
    raise SystemExit(answer["error"])

args.out.write_bytes(base64.b64decode(answer["audio_base64"]))
facts = answer["metadata"]
print(
    f"{facts['bars']} bars at {facts['bpm']} bpm, {facts['total_samples']} samples, seed {facts['seed']} -> {args.out}"
)
