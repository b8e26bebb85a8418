"""One DNS question over UDP, enough to see whether a name server resolves a name."""
import os
import socket
import struct

ANSWERED, A_RECORD, INTERNET = 0x8000, 1, 1


def resolves(server: str, name: str, timeout: float = 0.5) -> bool:
    """Whether the server gives at least one IPv4 address for a name (RFC 1035, sections 4.1.1 and 4.1.2)."""
    number = os.urandom(2)
    labels = b"".join(bytes([len(part)]) + part for part in name.encode().split(b"."))
    question = number + struct.pack(">HHHHH", 0x0100, 1, 0, 0, 0) + labels + struct.pack(">BHH", 0, A_RECORD, INTERNET)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(timeout)
        try:
            s.sendto(question, (server, 53))
            answer = s.recv(512)
        except OSError:
            return False
    if len(answer) < 12 or answer[:2] != number:
        return False
    flags, _, answers = struct.unpack(">HHH", answer[2:8])
    return bool(flags & ANSWERED) and flags & 0xF == 0 and answers > 0
