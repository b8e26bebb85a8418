#!/usr/bin/env python3
"""forwarder.py PORT HOST PORT: connections to the loopback go on to HOST. Stopped by SIGSTOP it is a line on which every packet vanishes:
connections stand, new ones are taken by the kernel, and nothing answers."""
import asyncio
import sys


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One direction, until its end."""
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def serve(near_reader: asyncio.StreamReader, near_writer: asyncio.StreamWriter) -> None:
    """One connection."""
    try:
        far_reader, far_writer = await asyncio.open_connection(sys.argv[2], int(sys.argv[3]))
    except OSError:
        near_writer.close()
        return
    await asyncio.gather(copy(near_reader, far_writer), copy(far_reader, near_writer))


async def main() -> None:
    """Listen for ever."""
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()


asyncio.run(main())
