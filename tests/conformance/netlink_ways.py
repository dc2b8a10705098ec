# SPDX-License-Identifier: Apache-2.0
"""Uses NETLINK_RDMA sockets in every way that the kernel serves, and prints what comes of it, one line each.

What depends on the machine (names, GUIDs, ports, how many devices) is left out, so that a Linux kernel with rdma_rxe
prints the same: test_rdma_tool.py has its words. As root and without CAP_NET_ADMIN (argument "user")."""

import ctypes
import errno
import os
import select
import socket
import struct
import sys

NETLINK_RDMA, SOL_NETLINK = 20, 270
REQUEST, MULTI, ACK, DUMP = 1, 2, 4, 0x300
GET, SET, NEWLINK, DELLINK, PORT_GET, SYS_GET, SYS_SET = 1, 2, 3, 4, 5, 6, 7
RES_GET, RES_QP, CHARDEV, STAT_SET, STAT_GET, STAT_DEL, RES_QP_RAW = 9, 10, 15, 16, 17, 18, 19
DEV_INDEX, DEV_NAME, PORT_INDEX, CHARDEV_TYPE, NETNS_MODE, PQKEY, DIM = 1, 2, 3, 69, 66, 96, 84
LINK_TYPE, NDEV_NAME, LQPN, STAT_MODE, STAT_RES, RES_QP_ATTR = 65, 51, 21, 74, 75, 19


def attribute(kind, payload):
    return struct.pack("HH", 4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def u32(kind, value):
    return attribute(kind, struct.pack("I", value))


def u8(kind, value):
    return attribute(kind, struct.pack("B", value))


def text(kind, value):
    return attribute(kind, value.encode() + b"\0")


def message(op, payload=b"", flags=REQUEST, seq=5, kind=None, length=None):
    kind = 5 << 10 | op if kind is None else kind
    return struct.pack("IHHII", 16 + len(payload) if length is None else length, kind, flags, seq, 0) + payload


def name_of(number):
    return "0" if number == 0 else "-" + errno.errorcode.get(-number, str(-number))


def words(packet):
    """The messages of a packet: type, flags, sequence, and of errors the number and what follows it."""
    said = []
    while len(packet) >= 16:
        length, kind, flags, seq, pid = struct.unpack_from("IHHII", packet)
        entry = f"{kind:#x} flags {flags:#x} seq {seq}"
        if kind in (2, 3):
            entry += " " + name_of(struct.unpack_from("i", packet, 16)[0])
        if kind == 2:
            entry += f" +{length - 36}"
            if flags & 0x200:  # NLM_F_ACK_TLVS
                body = packet[length - (length - 36):length] if flags & 0x100 else packet[-1:]
                entry += " " + body.hex()
        elif kind >= 16:
            at, kinds = 16, []
            while at + 4 <= length:
                bytes_, attr = struct.unpack_from("HH", packet, at)
                kinds.append(f"{attr}:{bytes_ - 4}" if attr not in (2, 50, 51, 70) else f"{attr}:text")
                at += bytes_ + 3 & ~3
            entry += " [" + " ".join(kinds) + "]"
        said.append(entry)
        packet = packet[length + 3 & ~3:]
    return said


class Socket:
    def __init__(self, kind=socket.SOCK_RAW):
        self.socket = socket.socket(socket.AF_NETLINK, kind, NETLINK_RDMA)
        self.socket.settimeout(10)

    def ask(self, data):
        """Sends, and takes what comes until nothing does."""
        try:
            sent = self.socket.sendto(data, (0, 0))
        except OSError as error:
            return [f"send {errno.errorcode[error.errno]}"]
        said = [] if sent == len(data) else [f"sent {sent} of {len(data)}"]
        while select.select([self.socket], [], [], 0)[0]:
            packet, source = self.socket.recvfrom(65536)
            assert source == (0, 0), source
            said += words(packet)
        return list(dict.fromkeys(said))  # how many devices there are is the machine's: equal lines count once


def show(title, said):
    print(f"{title}: " + "; ".join(map(str, said if isinstance(said, list) else [said])), flush=True)


def outcome(call):
    try:
        return call()
    except OSError as error:
        return errno.errorcode[error.errno]


def drop_admin():
    """Goes on without CAP_NET_ADMIN (man 2 capset, version 3)."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = struct.pack("Ii", 0x20080522, 0)
    head, body = ctypes.create_string_buffer(header), ctypes.create_string_buffer(24)
    assert libc.syscall(125, head, body) == 0  # capget
    sets = list(struct.unpack("6I", body.raw))
    for i in range(2):
        sets[i] &= ~(1 << 12)
    assert libc.syscall(126, head, ctypes.create_string_buffer(struct.pack("6I", *sets), 24)) == 0  # capset


def requests():
    s = Socket()
    first = u32(DEV_INDEX, 0)
    for title, data in (
            ("get", message(GET, first)),
            ("get acknowledged", message(GET, first, REQUEST | ACK)),
            ("get without index", message(GET)),
            ("get of no device", message(GET, u32(DEV_INDEX, 99))),
            ("get with a short index", message(GET, attribute(DEV_INDEX, b"\0"))),
            ("get with a long index", message(GET, attribute(DEV_INDEX, bytes(8)))),
            ("get with an unknown attribute", message(GET, u32(200, 1) + first)),
            ("get with bytes left over", message(GET, first + b"\1\2")),
            ("get dump", message(GET, b"", REQUEST | DUMP)),
            ("port", message(PORT_GET, first + u32(PORT_INDEX, 1))),
            ("port without port", message(PORT_GET, first)),
            ("port 2", message(PORT_GET, first + u32(PORT_INDEX, 2))),
            ("port dump", message(PORT_GET, first, REQUEST | DUMP)),
            ("port dump of no device", message(PORT_GET, b"", REQUEST | DUMP)),
            ("system", message(SYS_GET)),
            ("system with an unknown attribute", message(SYS_GET, u32(200, 1))),
            ("system dump", message(SYS_GET, b"", REQUEST | DUMP)),
            ("uverbs", message(CHARDEV, first + text(CHARDEV_TYPE, "uverbs"))),
            ("uverbs of a port", message(CHARDEV, first + u32(PORT_INDEX, 1) + text(CHARDEV_TYPE, "uverbs"))),
            ("uverbs of no device", message(CHARDEV, text(CHARDEV_TYPE, "uverbs"))),
            ("rdma_cm", message(CHARDEV, text(CHARDEV_TYPE, "rdma_cm"))),
            ("rdma_cm of a device", message(CHARDEV, first + text(CHARDEV_TYPE, "rdma_cm"))),
            ("rdma_cm of a port", message(CHARDEV, u32(PORT_INDEX, 1) + text(CHARDEV_TYPE, "rdma_cm"))),
            ("unknown client", message(CHARDEV, first + text(CHARDEV_TYPE, "nobody"))),
            ("client without a name", message(CHARDEV, first)),
            ("client without NUL", message(CHARDEV, first + attribute(CHARDEV_TYPE, b"abcd"))),
            ("client with a long name", message(CHARDEV, first + text(CHARDEV_TYPE, "x" * 33))),
            ("set without index", message(SET)),
            ("set nothing", message(SET, first, REQUEST | ACK)),
            ("set dim 2", message(SET, first + u8(DIM, 2))),
            ("set an empty name", message(SET, first + text(DEV_NAME, ""))),
            ("newlink of nothing", message(NEWLINK)),
            ("newlink with a bad name", message(NEWLINK, text(DEV_NAME, "a%b") + text(LINK_TYPE, "rxe") +
                                                text(NDEV_NAME, "nosuch0"))),
            ("newlink over nothing", message(NEWLINK, text(DEV_NAME, "rxe9") + text(LINK_TYPE, "rxe") +
                                             text(NDEV_NAME, "nosuch0"))),
            ("newlink of another type", message(NEWLINK, text(DEV_NAME, "rxe9") + text(LINK_TYPE, "nosuch") +
                                                text(NDEV_NAME, "lo"))),
            ("dellink without index", message(DELLINK)),
            ("dellink of no device", message(DELLINK, u32(DEV_INDEX, 99))),
            ("system set nothing", message(SYS_SET)),
            ("system set netns 2", message(SYS_SET, u8(NETNS_MODE, 2))),
            ("system set netns 1", message(SYS_SET, u8(NETNS_MODE, 1), REQUEST | ACK)),
            ("system set qkey 2", message(SYS_SET, u8(PQKEY, 2))),
            ("operation 0", message(0)),
            ("operation 8", message(8)),
            ("operation 60", message(60)),
            ("operation 60 of another client", message(0, kind=3 << 10 | 60)),
            ("client 9", message(0, kind=9 << 10)),
            ("no request", message(GET, first, 0)),
            ("no request, acknowledged", message(GET, first, ACK)),
            ("control message", message(0, kind=1)),
            ("control message, acknowledged", message(0, kind=1, flags=REQUEST | ACK)),
            ("fifteen bytes", message(GET)[:15]),
            ("length 15", message(GET, first, length=15)),
            ("length beyond the end", message(GET, first, length=4000)),
            ("two requests", message(SYS_GET) + message(8, seq=6) + message(SYS_GET, seq=7)),
            ("a request and a piece", message(SYS_GET) + b"\1" * 8),
            ("two dumps", message(GET, b"", REQUEST | DUMP) + message(GET, b"", REQUEST | DUMP, seq=6)),
    ):
        show(title, s.ask(data))
    s.socket.setsockopt(SOL_NETLINK, 10, 1)  # NETLINK_CAP_ACK
    show("capped", s.ask(message(GET, u32(DEV_INDEX, 99))))
    s.socket.setsockopt(SOL_NETLINK, 11, 1)  # NETLINK_EXT_ACK
    for title, data in (("why: unknown attribute", message(SYS_GET, first + u32(200, 1))),
                        ("why: length", message(SYS_GET, attribute(DEV_INDEX, bytes(8)))),
                        ("why: string", message(SYS_GET, attribute(DEV_NAME, b"abcd"))),
                        ("why: nested", message(SYS_GET, attribute(15, b""))),
                        ("why: not nested", message(SYS_GET, attribute(DEV_INDEX | 0x8000, bytes(4)))),
                        ("why: unsupported", message(SYS_GET, attribute(4, bytes(8)))),
                        ("why: bytes", message(SYS_GET, b"\1\2")),
                        ("why: a good one", message(SYS_GET, b"", REQUEST | ACK)),
                        ("why: liberal", message(GET, attribute(DEV_INDEX, b"\0")))):
        show(title, s.ask(data))


def sockets():
    show("stream socket", outcome(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_STREAM, NETLINK_RDMA)))
    s = Socket(socket.SOCK_DGRAM)
    raw = s.socket
    show("kind", [raw.getsockopt(socket.SOL_SOCKET, option) for option in
                  (socket.SO_TYPE, socket.SO_DOMAIN, socket.SO_PROTOCOL)])
    show("before bind", raw.getsockname() == (0, 0))
    raw.bind((0, 0))
    show("after bind", raw.getsockname() == (os.getpid(), 0))
    show("bind again", outcome(lambda: raw.bind((os.getpid() + 1, 0))))
    other = Socket()
    show("bind to its port", outcome(lambda: other.socket.bind((os.getpid(), 0))))
    other.socket.bind((0, 0))
    show("the second port is negative", other.socket.getsockname()[0] > 1 << 31)
    show("peer", raw.getpeername())
    show("shutdown", outcome(lambda: raw.shutdown(socket.SHUT_RDWR)))
    show("options", [raw.getsockopt(SOL_NETLINK, option) for option in (3, 4, 5, 10, 11, 12)])
    show("unknown option", outcome(lambda: raw.setsockopt(SOL_NETLINK, 99, 1)))
    show("other level", outcome(lambda: raw.setsockopt(socket.SOL_TCP, 1, 1)))
    show("to nobody", outcome(lambda: raw.sendto(message(SYS_GET), (54321, 0))))
    show("nothing", outcome(lambda: raw.sendto(b"", (0, 0))))
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2304)
    show("too long", outcome(lambda: raw.sendto(bytes(8000), (0, 0))))
    raw.setblocking(False)
    show("nothing there", outcome(lambda: raw.recv(100)))
    show("connect", outcome(lambda: raw.connect((0, 0))))
    raw.send(message(SYS_GET))
    show("poll", bool(select.select([raw], [], [], 10)[0]))
    show("peek", len(raw.recv(8, socket.MSG_PEEK)))
    show("peek, whole length", raw.recv_into(bytearray(8), 8, socket.MSG_PEEK | socket.MSG_TRUNC))
    data, control, flags, source = raw.recvmsg(20)
    show("cut", [len(data), len(control), flags == socket.MSG_TRUNC, source])
    show("gone", outcome(lambda: raw.recv(100)))
    os.write(raw.fileno(), message(SYS_GET))
    show("read", len(os.read(raw.fileno(), 100)))
    raw.sendmsg([message(SYS_GET)[:5], message(SYS_GET)[5:]])
    pieces = [bytearray(7), bytearray(200)]
    show("pieces", os.readv(raw.fileno(), pieces))
    copy = os.dup(raw.fileno())
    os.write(copy, message(SYS_GET))
    show("a copy", len(raw.recv(100)))
    poller = select.epoll()
    poller.register(copy, select.EPOLLIN)
    show("epoll empty", poller.poll(0))
    os.write(raw.fileno(), message(SYS_GET))
    show("epoll", [event for _, event in poller.poll(10)])
    show("seek", outcome(lambda: os.lseek(raw.fileno(), 0, os.SEEK_SET)))
    show("mode", oct(os.fstat(raw.fileno()).st_mode))
    child = os.fork()
    if child == 0:
        os.write(copy, message(SYS_GET, seq=9))
        os._exit(0 if len(raw.recv(100)) > 0 else 1)
    show("child", os.waitpid(child, 0)[1])
    show("left by the child", struct.unpack_from("IHHI", raw.recv(100))[3])
    flood = Socket()
    for _ in range(2000):
        flood.socket.sendto(message(SYS_GET), (0, 0))
    show("overrun", outcome(lambda: flood.socket.recv(100)))
    show("after it", len(flood.socket.recv(100)))


# ---- resources: a program that holds some, by libibverbs

COMMANDS = {"qp": (10, 19, 20, 21), "cq": (12, 35, 36, 61), "mr": (13, 40, 41, 62), "pd": (14, 46, 47, 60),
            "ctx": (22, 86, 87, 64), "srq": (23, 88, 89, 90)}  # command, table, entry, number
PID, PDN, CTXN, MRN = 28, 60, 64, 62
VALUES = {"qp": (3, 22, 23, 24, 25, 26, 27), "cq": (37, 38, 84), "mr": (45,), "pd": (38, 48), "ctx": (), "srq": (26,)}


def hold():
    """A PD, CQ, MR of 8000 bytes, an SRQ with two QPs and a QP without: what keeps them alive."""
    verbs = ctypes.CDLL("libibverbs.so.1", use_errno=True)
    for function in ("ibv_get_device_list", "ibv_open_device", "ibv_alloc_pd", "ibv_create_cq", "ibv_reg_mr",
                     "ibv_create_srq", "ibv_create_qp"):
        getattr(verbs, function).restype = ctypes.c_void_p
    point = ctypes.c_void_p
    devices = ctypes.cast(verbs.ibv_get_device_list(None), ctypes.POINTER(point))
    context = verbs.ibv_open_device(point(devices[0]))
    pd = verbs.ibv_alloc_pd(point(context))
    cq = verbs.ibv_create_cq(point(context), 100, None, None, 0)
    memory = ctypes.create_string_buffer(8000)
    mr = verbs.ibv_reg_mr(point(pd), memory, ctypes.c_size_t(8000), 7)
    srq = verbs.ibv_create_srq(point(pd), struct.pack("PIII4x", 0, 20, 2, 0))
    # struct ibv_qp_init_attr: qp_context, send_cq, recv_cq, srq, cap (5 words), qp_type, sq_sig_all.
    qps = [verbs.ibv_create_qp(point(pd), ctypes.create_string_buffer(
        struct.pack("PPPPIIIIIii4x", 0, cq, cq, shared, 10, 10, 1, 1, 0, kind, 1)))
        for shared, kind in ((srq, 2), (srq, 2), (0, 4))]
    assert all((context, pd, cq, mr, srq, *qps)), ctypes.get_errno()
    return memory, verbs


def attributes(data):
    """[(type without flags, payload)]"""
    found, at = [], 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("HH", data, at)
        found.append((kind & 0x3fff, data[at + 4:at + length]))
        at += length + 3 & ~3
    return found


def describe(kind, entry):
    """Which attributes an entry has, in order, and the values that are the same on every machine."""
    said = []
    for attr, value in entry:
        number = int.from_bytes(value, "little") if attr in VALUES[kind] else None
        if attr == 19:  # of an SRQ: its QPs, two that follow each other
            said.append("19:[" + " ".join(f"{a}:{len(v)}" for a, v in attributes(attributes(value)[0][1])) + "]")
        elif attr in (2, 92):
            said.append(f"{attr}:text")
        else:
            said.append(f"{attr}:{len(value)}" + (f"={number}" if number is not None else ""))
    return " ".join(said)


def entries(s, kind, payload=b"", op=None):
    """Those of this process, from a dump."""
    command, table, entry, _ = COMMANDS[kind]
    s.socket.sendto(message(op or command, u32(DEV_INDEX, 0) + payload, REQUEST | DUMP), (0, 0))
    mine, done = [], False
    while not done:
        packet = s.socket.recv(65536)
        while len(packet) >= 16:
            length, type_ = struct.unpack_from("IH", packet)
            if type_ == 3:
                done = True
                if struct.unpack_from("i", packet, 16)[0]:
                    mine.append(name_of(struct.unpack_from("i", packet, 16)[0]))
            elif type_ == 2:
                return [name_of(struct.unpack_from("i", packet, 16)[0])]
            else:
                for attr, value in attributes(packet[16:length]):
                    if attr == table:
                        found = [attributes(v) for a, v in attributes(value) if a == entry]
                        mine += [e for e in found if op or dict(e).get(PID) == struct.pack("I", os.getpid())]
            packet = packet[length + 3 & ~3:]
    return mine


def resources():
    held = hold()
    s = Socket()
    s.socket.setsockopt(SOL_NETLINK, 10, 1)
    first, port = u32(DEV_INDEX, 0), u32(PORT_INDEX, 1)
    s.socket.sendto(message(RES_GET, first), (0, 0))
    summary = dict(attributes(s.socket.recv(4096)[16:]))[15]
    show("summary", [dict(attributes(v))[17][:-1].decode() for _, v in attributes(summary)])
    show("summaries", s.ask(message(RES_GET, b"", REQUEST | DUMP)))
    for kind, (command, _, _, number) in COMMANDS.items():
        mine = entries(s, kind)
        show(f"{kind} dump", [describe(kind, entry) for entry in mine])
        show(f"{kind} dump of a port", len(entries(s, kind, port)))
        show(f"{kind} dump of port 2", entries(s, kind, u32(PORT_INDEX, 2)))
        one = dict(mine[0])[number]
        of_port = port if kind == "qp" else b""
        # A QP that was never at a port has none.
        show(f"{kind} by number", s.ask(message(command, first + of_port + attribute(number, one))))
        show(f"{kind} by number, port", s.ask(message(command, first + port + attribute(number, one))))
        show(f"{kind} by number, no port", s.ask(message(command, first + attribute(number, one)))
             if kind == "qp" else "as above")
        show(f"{kind} by number, port 2", s.ask(message(command, first + u32(PORT_INDEX, 2) + attribute(number, one))))
        show(f"{kind} nobody's", s.ask(message(command, first + of_port + u32(number, 0xfffff0))))
        show(f"{kind} without number", s.ask(message(command, first + of_port)))
        show(f"{kind} of no device", s.ask(message(command, u32(number, 1))))
    pds = dict(entries(s, "pd")[0])
    for kind in ("qp", "mr", "srq"):
        show(f"{kind}'s PD", dict(entries(s, kind)[0])[PDN] == pds[PDN])
    for kind in ("cq", "pd"):
        show(f"{kind}'s context", dict(entries(s, kind)[0])[CTXN] == dict(entries(s, "ctx")[0])[CTXN])
    show("raw QP", s.ask(message(RES_QP_RAW, first + port + attribute(LQPN, dict(entries(s, "qp")[0])[LQPN]))))
    show("raw MRs", entries(s, "mr", op=21))
    show("counters", s.ask(message(STAT_GET, first + port)))
    show("counters of no port", s.ask(message(STAT_GET, first)))
    show("counters' names", s.ask(message(24, first + port)))
    show("mode", s.ask(message(STAT_GET, first + port + u32(STAT_RES, RES_QP_ATTR) + u32(STAT_MODE, 0))))
    show("mode of nothing", s.ask(message(STAT_GET, first + port + u32(STAT_RES, RES_QP_ATTR))))
    show("counter 5", s.ask(message(STAT_GET, first + port + u32(STAT_RES, RES_QP_ATTR) + u32(79, 5))))
    show("statistics of PDs", s.ask(message(STAT_GET, first + port + u32(STAT_RES, 46))))
    show("QPs' counters", s.ask(message(STAT_GET, first + u32(STAT_RES, RES_QP_ATTR), REQUEST | DUMP)))
    show("dump of nothing", s.ask(message(STAT_GET, first, REQUEST | DUMP)))
    mrn = attribute(MRN, dict(entries(s, "mr")[0])[MRN])
    show("statistics of a region", s.ask(message(STAT_GET, first + u32(STAT_RES, 40) + mrn)))
    qp = attribute(LQPN, dict(entries(s, "qp")[0])[LQPN])
    to_qp = first + port + u32(STAT_RES, RES_QP_ATTR)
    for title, payload in (("bind", to_qp + u32(STAT_MODE, 2) + qp), ("bind to 5", to_qp + u32(STAT_MODE, 2) + qp + u32(79, 5)),
                           ("bind nobody's", to_qp + u32(STAT_MODE, 2) + u32(LQPN, 0xfffff0)),
                           ("bind nothing", to_qp + u32(STAT_MODE, 2)), ("auto 8", to_qp + u32(STAT_MODE, 1) + u32(76, 8)),
                           ("auto type", to_qp + u32(STAT_MODE, 1) + u32(76, 1)),
                           ("bind while auto", to_qp + u32(STAT_MODE, 2) + qp),
                           ("mode auto", None),
                           ("auto off", to_qp + u32(STAT_MODE, 1)), ("switch", first + port + attribute(0x8000 | 80, u32(94, 0))),
                           ("nothing", first + port)):
        if payload is None:
            show("mode", s.ask(message(STAT_GET, to_qp + u32(STAT_MODE, 0))))
        else:
            show(title, s.ask(message(STAT_SET, payload)))
    show("unbind", s.ask(message(STAT_DEL, to_qp + qp + u32(79, 5))))
    show("unbind nobody's", s.ask(message(STAT_DEL, to_qp + u32(LQPN, 0xfffff0) + u32(79, 5))))
    del held


if __name__ == "__main__":
    if sys.argv[1:] == ["user"]:
        drop_admin()
    requests()
    sockets()
    resources()
