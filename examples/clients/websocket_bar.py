"""A jam in bars over the WebSocket, with binary audio and a change of style on the way, written to one file.

darius serve &
python examples/clients/websocket_bar.py examples/loops/loop_garzul.flac --bpm 120 --chunks 4
"""

import argparse
import asyncio
import base64
import io
import json
from pathlib import Path

import numpy as np
import soundfile
import websockets

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("loop", type=Path)
parser.add_argument("--server", default="ws://127.0.0.1:7860/ws/jam")
parser.add_argument("--bpm", default="120")
parser.add_argument("--chunks", type=int, default=4)
parser.add_argument("--out", default="jam.wav")
args = parser.parse_args()

START = {
    "type": "start",
    "mode": "bar",
    "binary_audio": True,  # each chunk: a WAV as a binary frame, then a chunk_meta message
    "loop_audio_b64": base64.b64encode(args.loop.read_bytes()).decode(),
    "params": {"bpm": args.bpm, "bars_per_chunk": 2, "styles": "dub techno", "style_ramp_seconds": 4},
}


async def main() -> None:
    parts, wav, rate = [], b"", 0
    async with websockets.connect(args.server, max_size=None) as socket:
        await socket.send(json.dumps(START))
        async for frame in socket:
            if isinstance(frame, bytes):
                wav = frame
                continue
            message = json.loads(frame)
            if message["type"] == "error":
                raise SystemExit(message["error"])
            if message["type"] == "chunk_meta":
                samples, rate = soundfile.read(io.BytesIO(wav), dtype="float32")
                parts.append(samples)
                print(f"chunk {message['index']}: {len(samples)} samples")
                if len(parts) == args.chunks:
                    await socket.send(json.dumps({"type": "stop"}))
                    break
                # A player says this when the chunk begins to sound; the next one is released then.
                await socket.send(json.dumps({"type": "consume", "chunk_index": message["index"]}))
                await socket.send(json.dumps({"type": "update", "styles": "breakbeat, piano"}))
    soundfile.write(args.out, np.concatenate(parts), rate)
    print(args.out)


asyncio.run(main())
