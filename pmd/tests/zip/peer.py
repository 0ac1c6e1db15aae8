"""zlib on behalf of the tests: reads jobs from the file argv[1], writes their results to argv[2]."""
import struct, sys, zlib

HEAD = struct.Struct("<cbBBBBII")

def compress(data, wbits, level, strategy, memory, flush, dictionary):
    extra = [dictionary] if dictionary else []
    z = zlib.compressobj(level, zlib.DEFLATED, wbits, memory, strategy, *extra)
    out = b""
    if flush:
        for at in range(0, len(data), 1000):
            out += z.compress(data[at:at + 1000]) + z.flush(flush)
        data = b""
    return out + z.compress(data) + z.flush(), 0

def decompress(data, wbits, dictionary):
    z = zlib.decompressobj(wbits, dictionary) if dictionary else zlib.decompressobj(wbits)
    out = z.decompress(data) + z.flush()
    if not z.eof:
        raise ValueError("the stream does not end")
    return out, len(z.unused_data)

jobs, at = open(sys.argv[1], "rb").read(), 0
with open(sys.argv[2], "wb") as results:
    while at < len(jobs):
        op, wbits, level, strategy, memory, flush, n, m = HEAD.unpack_from(jobs, at)
        at += HEAD.size
        dictionary, data = jobs[at:at + n], jobs[at + n:at + n + m]
        at += n + m
        try:
            if op == b"c":
                out, unused = compress(data, wbits, level, strategy, memory, flush, dictionary)
            else:
                out, unused = decompress(data, wbits, dictionary)
            ok = 1
        except Exception as e:
            ok, out, unused = 0, str(e).encode(), 0
        results.write(struct.pack("<BII", ok, unused, len(out)) + out)
