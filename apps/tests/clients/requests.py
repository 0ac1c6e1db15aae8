import hashlib
import sys
import time

import requests

base, ca, target, large, noise = sys.argv[1:]
with open(large, "rb") as file:
    large = file.read()
with open(noise, "rb") as file:
    noise = file.read()


def fresh():
    session = requests.Session()
    session.trust_env = False
    session.verify = ca
    return session


with fresh() as session:
    # Twenty requests, one connection.
    for i in range(20):
        response = session.get(f"{base}/json?i={i}", timeout=60)
        assert response.status_code == 200 and response.json()["target"] == f"/json?i={i}", response.text
    pools = session.get_adapter(base).poolmanager.pools
    made = [(pools[key].num_connections, pools[key].num_requests) for key in pools.keys()]
    assert made == [(1, 20)], made

    # Decoded by itself; fewer bytes have come.
    response = session.get(f"{base}/large?bytes=300000", timeout=60)
    assert response.headers["Content-Encoding"] == "gzip", response.headers
    assert response.content == large[:300000] and response.raw.tell() < 200000, response.raw.tell()
    plain = session.get(f"{base}/large?bytes=300000", headers={"Accept-Encoding": "identity"}, timeout=60)
    assert plain.content == large[:300000] and "Content-Encoding" not in plain.headers, plain.headers

    # Up and back, with a length and in chunks.
    echo = session.post(f"{base}/echo", data=noise, timeout=60)
    assert echo.content == noise and echo.status_code == 200
    pieces = (noise[i : i + 7919] for i in range(0, len(noise), 7919))
    echo = session.post(f"{base}/echo", data=pieces, timeout=60)
    assert echo.content == noise and echo.status_code == 200

    # A large body, as it comes: not compressed, and compressed.
    for coding in ("identity", "gzip"):
        digest, pieces = hashlib.sha256(), 0
        with session.get(base + target, headers={"Accept-Encoding": coding}, stream=True, timeout=60) as response:
            assert response.headers.get("Content-Encoding", "identity") == coding, response.headers
            for piece in response.iter_content(65536):
                digest.update(piece)
                pieces += 1
        assert digest.digest() == hashlib.sha256(large).digest() and pieces > 100, (coding, pieces)

    # Events, each at once: the first is here long before the last was sent.
    with session.get(f"{base}/events?n=3&ms=400", stream=True, timeout=60) as response:
        times = [time.monotonic() for line in response.iter_lines(chunk_size=1) if line.startswith(b"data:")]
    assert len(times) == 3 and times[2] - times[0] > 0.2, times

with fresh() as session:
    session.verify = True
    try:
        session.get(f"{base}/", timeout=60)
        raise AssertionError("a certificate that is not trusted is taken")
    except requests.exceptions.SSLError:
        pass
print("right")
