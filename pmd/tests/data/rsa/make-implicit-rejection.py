#!/usr/bin/env python3
"""Makes implicit-rejection.txt anew: what OpenSSL answers to ciphertexts with bad padding.

Needs the Python package `cryptography` with OpenSSL 3.2 or later in it.
"""

import hashlib
import pathlib

from cryptography.hazmat.backends.openssl import backend
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.serialization import load_pem_private_key

here = pathlib.Path(__file__).parent
with open(here / "implicit-rejection.txt", "w") as out:
    print(f"# Made by make-implicit-rejection.py with {backend.openssl_version_text()}.", file=out)
    print("# Modulus bits, ciphertext as a number, length of the message, SHA-256 of the message.", file=out)
    for bits in (2048, 3072, 4096):
        key = load_pem_private_key((here / f"rsa{bits}-pkcs1.pem").read_bytes(), None)
        longest = bits // 8 - 11
        wanted = {0, longest}
        number = 1
        while number < 16 or wanted:
            number += 1
            message = key.decrypt(number.to_bytes(bits // 8, "big"), padding.PKCS1v15())
            if number <= 16 or len(message) in wanted:
                wanted.discard(len(message))
                print(bits, number, len(message), hashlib.sha256(message).hexdigest(), file=out)
