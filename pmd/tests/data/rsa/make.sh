#!/bin/sh
# Makes the files of this directory anew, with OpenSSL 3: keys that protect nothing, and what an implementation other
# than ours makes with them.
set -eu
cd "$(dirname "$0")"

openssl genrsa -out rsa2048.pem 2048
openssl rsa -in rsa2048.pem -traditional -out rsa2048-pkcs1.pem
openssl rsa -in rsa2048.pem -pubout -out rsa2048-spki.pem
openssl rsa -in rsa2048.pem -RSAPublicKey_out -out rsa2048-pkcs1-public.pem
openssl pkcs8 -topk8 -in rsa2048.pem -v2 aes-256-cbc -passout pass:test -out encrypted-pkcs8.pem
openssl rsa -in rsa2048.pem -traditional -aes128 -passout pass:test -out encrypted-pkcs1.pem
openssl genrsa -out rsa1024.pem 1024
for bits in 3072 4096; do
    openssl genrsa -traditional -out rsa$bits-pkcs1.pem $bits
done
openssl ecparam -name prime256v1 -genkey -out ec.pem
openssl pkcs8 -topk8 -nocrypt -in ec.pem -out ec-pkcs8.pem
openssl pkey -in ec.pem -pubout -out ec-spki.pem
openssl req -x509 -new -key ec.pem -subj /CN=test -days 3650 -out ec-certificate.pem
openssl genpkey -algorithm X25519 -out x25519.pem
openssl pkey -in x25519.pem -pubout -out x25519-spki.pem
openssl ecparam -name secp384r1 -genkey -noout -out p384.pem
openssl req -x509 -new -key rsa2048.pem -subj /CN=test -days 3650 -out certificate.pem

printf 'known answer' > message
for hash in sha256 sha384 sha512; do
    openssl dgst -$hash -sign rsa2048.pem -out pkcs1-$hash.sig message
    openssl dgst -$hash -sign rsa2048.pem -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest \
        -out pss-$hash.sig message
    openssl pkeyutl -encrypt -inkey rsa2048.pem -in message -out oaep-$hash.bin -pkeyopt rsa_padding_mode:oaep \
        -pkeyopt rsa_oaep_md:$hash -pkeyopt rsa_mgf1_md:$hash
done
openssl pkeyutl -encrypt -inkey rsa2048.pem -in message -out pkcs1.bin
openssl dgst -sha256 -sign ec.pem -out ecdsa-sha256.sig message
openssl dgst -sha256 -sign rsa1024.pem -out rsa1024-pkcs1-sha256.sig message
./make-implicit-rejection.py
