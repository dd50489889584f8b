"""Music from words alone over the WebSocket: gapless two-second chunks, written to one file.

darius serve &
python examples/clients/websocket_rt.py --styles "late night jazz trio" --seconds 10
"""

import argparse
import asyncio
import base64
import io
import json

import numpy as np
import soundfile
import websockets

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--server", default="ws://127.0.0.1:7860/ws/jam")
parser.add_argument("--styles", default="late night jazz trio")
parser.add_argument("--seconds", type=float, default=10)
parser.add_argument("--out", default="words.wav")
args = parser.parse_args()

START = {
    "type": "start",
    "mode": "rt",
    "params": {
        "styles": args.styles,
        "temperature": 1.2,
        "overlap": False,  # plain chunks that follow each other; with True each repeats 40 ms for a crossfade
        "pace": "asap",  # this program writes a file; "realtime" is for those who listen
    },
}


async def main() -> None:
    parts, seconds = [], 0.0
    async with websockets.connect(args.server) as socket:
        await socket.send(json.dumps(START))
        async for text in socket:
            message = json.loads(text)
            if message["type"] == "error":
                raise SystemExit(message["error"])
            if message["type"] != "chunk":
                continue  # started, status, pong
            samples, rate = soundfile.read(io.BytesIO(base64.b64decode(message["audio_base64"])), dtype="float32")
            parts.append(samples)
            seconds += len(samples) / rate
            print(f"chunk {message['index']}: {seconds:.0f} s")
            if seconds >= args.seconds:
                await socket.send(json.dumps({"type": "stop"}))
                break
    soundfile.write(args.out, np.concatenate(parts)[: round(args.seconds * rate)], rate, subtype="FLOAT")
    print(args.out)


asyncio.run(main())
