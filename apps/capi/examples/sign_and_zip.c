/*
 * Compresses and decompresses a text, and raises a number to a power, on devices of `warpdrive serve`.
 *
 *     cc sign_and_zip.c -lwarpdrive -o sign_and_zip && ./sign_and_zip /run/warpdrive
 */
#include <stdio.h>
#include <string.h>
#include "warpdrive.h"

static int fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, wd_last_error());
	return 1;
}

/* Sends a request and waits up to ten seconds for it. */
static int run(struct wd_queue *q, void *req)
{
	void *done = NULL;
	int ret = wd_send(q, req);

	if (ret == 0)
		ret = wd_recv_sync(q, &done, 10000);
	return ret == 0 && done != req ? -EIO : ret;
}

static int zip(struct wd_queue *shrink, struct wd_queue *grow)
{
	static char text[65536], small[65536], again[65536];
	struct wd_zip_req to = { .format = WD_ZIP_ZLIB, .src = text, .src_len = sizeof text, .dst = small,
				 .dst_len = sizeof small };

	for (size_t i = 0; i < sizeof text; i++)
		text[i] = "poll, never wait\n"[i % 17];
	if (run(shrink, &to) || to.status)
		return fail("compress");
	struct wd_zip_req from = { .format = WD_ZIP_ZLIB, .src = small, .src_len = to.produced, .dst = again,
				   .dst_len = sizeof again };
	if (run(grow, &from) || from.status || from.produced != sizeof text || memcmp(text, again, sizeof text))
		return fail("decompress");
	printf("zip: %zu bytes, %u compressed\n", sizeof text, to.produced);
	return 0;
}

static int power(struct wd_queue *q)
{
	/* 2^65539 mod 2^2048-1, which is 2^(65539 mod 2048) = 8: exponent and modulus, then the number. */
	static unsigned char key[512], two[256], eight[256];
	struct wd_rsa_req req = { .op = WD_RSA_NOCRT, .bytes = 256, .key = key, .src = two, .dst = eight };

	key[253] = 1, key[255] = 3, two[255] = 2;
	memset(key + 256, 0xff, 256);
	if (run(q, &req) || req.status || eight[254] != 0 || eight[255] != 8)
		return fail("power");
	printf("rsa: 2^65539 mod 2^2048-1 = %d\n", eight[255]);
	return 0;
}

int main(int argc, char **argv)
{
	const char *root = argc > 1 ? argv[1] : NULL;
	struct wd_queue shrink = { .device = "hisi_zip-0", .root = root }, rsa = { .device = "hisi_hpre-0", .root = root };
	struct wd_queue grow = { .device = "hisi_zip-0", .root = root, .kind = WD_DECOMPRESS };
	int bad = 1;

	if (wd_request_queue(&shrink) || wd_request_queue(&grow) || wd_request_queue(&rsa))
		fail("request");
	else
		bad = zip(&shrink, &grow) || power(&rsa);
	wd_release_queue(&shrink);
	wd_release_queue(&grow);
	wd_release_queue(&rsa);
	return bad;
}
