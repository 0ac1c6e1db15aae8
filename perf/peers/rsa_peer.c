/* RSA private operations by OpenSSL, or eight at a time by Intel's crypto_mb. See README.md. */
#include "peer.h"

#include <dlfcn.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <time.h>

#if OPENSSL_VERSION_NUMBER < 0x30000000L
#error "OpenSSL 3.0 or newer is needed"
#endif

#define LANES 8
#define KEY_BYTES_MAX 512
#define KEY_FILE_MAX 8192
#define DIGEST_BYTES 32
/* A slice starts to count after this time: 512-bit code is slower at first. */
#define WARM_NS 1000000u
/* Passes whose times are reported, of a slice. */
#define PASSES_MAX 65536

/* As in crypto_mb/defs.h, version.h and rsa.h, which are not needed to build this. */
typedef unsigned int mbx_status;
typedef unsigned long long mbx_word;
typedef mbx_status mbx_crt(const unsigned char *const from[LANES], unsigned char *const to[LANES],
			   const mbx_word *const p[LANES], const mbx_word *const q[LANES],
			   const mbx_word *const dp[LANES], const mbx_word *const dq[LANES],
			   const mbx_word *const iq[LANES], int bits, const void *method, unsigned char *buffer);
struct mbx_version {
	int major, minor, patch;
	char cpu[4];
	const char *name, *date, *text;
};

struct key {
	EVP_PKEY *pair;
	EVP_PKEY_CTX *sign;
	/* p, q, dp, dq, qinv: little-endian, half the modulus each. */
	mbx_word crt[5][KEY_BYTES_MAX / 2 / sizeof(mbx_word)];
	unsigned char padded[KEY_BYTES_MAX], signature[KEY_BYTES_MAX];
};

static struct key keys[LANES];
static unsigned int key_count, key_bytes, ms = 10;
static const unsigned char digest[DIGEST_BYTES] = "thirty-two bytes are one digest";
static unsigned char results[LANES][KEY_BYTES_MAX];
static uint64_t passes_ns[PASSES_MAX];

static mbx_crt *crt;
static const void *method;
static unsigned char *scratch;
static char title[128];

static uint64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* One operation of `openssl speed rsa`: a PKCS#1 signature over a digest, with OpenSSL's blinding and check. */
static unsigned int openssl_pass(void)
{
	static unsigned int turn;
	size_t length = KEY_BYTES_MAX;

	turn = turn + 1 < key_count ? turn + 1 : 0;
	if (EVP_PKEY_sign(keys[turn].sign, results[0], &length, digest, sizeof(digest)) != 1 || length != key_bytes)
		peer_die("OpenSSL did not sign");
	return 1;
}

static unsigned int crypto_mb_pass(void)
{
	const unsigned char *from[LANES];
	unsigned char *to[LANES];
	const mbx_word *numbers[5][LANES];

	for (unsigned int lane = 0; lane < LANES; lane++) {
		const struct key *key = &keys[lane % key_count];

		from[lane] = key->padded;
		to[lane] = results[lane];
		for (unsigned int i = 0; i < 5; i++)
			numbers[i][lane] = key->crt[i];
	}
	mbx_status status = crt(from, to, numbers[0], numbers[1], numbers[2], numbers[3], numbers[4],
				(int)key_bytes * 8, method, scratch);
	if (status != 0)
		peer_die("crypto_mb: status %#x", status);
	return LANES;
}

static unsigned int (*pass)(void) = openssl_pass;

/* All times are of this thread's cpu: what else runs on the core does not show. */
static void measure(void)
{
	const uint64_t length = (uint64_t)ms * 1000000u, start = cpu_ns();
	uint64_t ops = 0, passes = 0, before = start, after = start;

	while (after - start < WARM_NS) {
		pass();
		after = cpu_ns();
	}
	const uint64_t begin = after;

	do {
		before = after;
		ops += pass();
		after = cpu_ns();
		if (passes < PASSES_MAX)
			passes_ns[passes++] = after - before;
	} while (after - begin < length);
	printf("{\"name\":\"%s\",\"ops\":%" PRIu64 ",\"cpu_ns\":%" PRIu64 ",\"passes_ns\":[", title, ops, after - begin);
	for (uint64_t i = 0; i < passes; i++)
		printf("%s%" PRIu64, i == 0 ? "" : ",", passes_ns[i]);
	puts("]}");
}

/* Reads a private key of either DER form. */
static void load(const char *path)
{
	unsigned char der[KEY_FILE_MAX];
	const unsigned char *at = der;
	struct key *key = &keys[key_count];

	if (key_count == LANES)
		peer_die("--key: at most %d", LANES);
	FILE *file = fopen(path, "rb");
	size_t length = file == NULL ? 0 : fread(der, 1, sizeof(der), file);

	if (file != NULL)
		fclose(file);
	key->pair = d2i_AutoPrivateKey(NULL, &at, (long)length);
	OPENSSL_cleanse(der, sizeof(der));
	if (key->pair == NULL || !EVP_PKEY_is_a(key->pair, "RSA"))
		peer_die("--key %s: not a readable RSA private key in DER", path);

	unsigned int bytes = (unsigned int)EVP_PKEY_get_size(key->pair);
	if (bytes > KEY_BYTES_MAX || bytes % 16 != 0 || (key_count > 0 && bytes != key_bytes))
		peer_die("--key %s: %u bytes: all keys must have one size of 2048 to 4096 bits", path, bytes);
	key_bytes = bytes;
	key->sign = EVP_PKEY_CTX_new(key->pair, NULL);
	if (key->sign == NULL || EVP_PKEY_sign_init(key->sign) != 1 ||
	    EVP_PKEY_CTX_set_rsa_padding(key->sign, RSA_PKCS1_PADDING) != 1 ||
	    EVP_PKEY_CTX_set_signature_md(key->sign, EVP_sha256()) != 1)
		peer_die("--key %s: OpenSSL does not sign with it", path);
	key_count++;
}

/* The signature to expect, and what the private operation makes it from: the signature to the power of e. */
static void prepare(struct key *key)
{
	static const char *const names[5] = {
		OSSL_PKEY_PARAM_RSA_FACTOR1,   OSSL_PKEY_PARAM_RSA_FACTOR2,	 OSSL_PKEY_PARAM_RSA_EXPONENT1,
		OSSL_PKEY_PARAM_RSA_EXPONENT2, OSSL_PKEY_PARAM_RSA_COEFFICIENT1,
	};
	size_t length = KEY_BYTES_MAX;

	if (EVP_PKEY_sign(key->sign, key->signature, &length, digest, sizeof(digest)) != 1)
		peer_die("OpenSSL did not sign");
	EVP_PKEY_CTX *raw = EVP_PKEY_CTX_new(key->pair, NULL);

	length = KEY_BYTES_MAX;
	if (raw == NULL || EVP_PKEY_encrypt_init(raw) != 1 || EVP_PKEY_CTX_set_rsa_padding(raw, RSA_NO_PADDING) != 1 ||
	    EVP_PKEY_encrypt(raw, key->padded, &length, key->signature, key_bytes) != 1 || length != key_bytes ||
	    memcmp(key->padded, "\0\1\377\377", 4) != 0)
		peer_die("a signature of OpenSSL is wrong");
	EVP_PKEY_CTX_free(raw);
	for (unsigned int i = 0; i < 5; i++) {
		BIGNUM *number = NULL;

		if (EVP_PKEY_get_bn_param(key->pair, names[i], &number) != 1 ||
		    BN_bn2lebinpad(number, (unsigned char *)key->crt[i], (int)key_bytes / 2) != (int)key_bytes / 2)
			peer_die("the key has no %s of half its size", names[i]);
		BN_clear_free(number);
	}
}

static void *symbol(void *library, const char *name)
{
	void *found = dlsym(library, name);

	if (found == NULL)
		peer_die("--crypto-mb: not crypto_mb, or another version: %s", dlerror());
	return found;
}

static void crypto_mb(const char *path)
{
	void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);

	if (library == NULL)
		peer_die("--crypto-mb %s: %s", path, dlerror());
	int (*applicable)(uint64_t) = (int (*)(uint64_t))symbol(library, "mbx_is_crypto_mb_applicable");
	const struct mbx_version *(*version)(void) =
		(const struct mbx_version *(*)(void))symbol(library, "mbx_getversion");
	const void *(*crt_method)(int) = (const void *(*)(int))symbol(library, "mbx_RSA_private_crt_Method");
	int (*buffer_size)(const void *) = (int (*)(const void *))symbol(library, "mbx_RSA_Method_BufSize");

	crt = (mbx_crt *)symbol(library, "mbx_rsa_private_crt_mb8");
	if (!applicable(0))
		peer_die("--crypto-mb: it does not run on this cpu, which needs AVX-512 IFMA");
	method = crt_method((int)key_bytes * 8);
	if (method == NULL)
		peer_die("--crypto-mb: no method for %u bits", key_bytes * 8);
	scratch = aligned_alloc(64, ((size_t)buffer_size(method) + 127) & ~(size_t)63);
	if (scratch == NULL)
		peer_die("out of memory");
	snprintf(title, sizeof(title), "crypto_mb %d.%d.%d", version()->major, version()->minor, version()->patch);
	pass = crypto_mb_pass;
	crypto_mb_pass();
	for (unsigned int lane = 0; lane < LANES; lane++)
		if (memcmp(results[lane], keys[lane % key_count].signature, key_bytes) != 0)
			peer_die("crypto_mb: lane %u gives another result than OpenSSL", lane);
}

static const char usage[] = "rsa_peer --key FILE.der... [--core N] [--ms N] [--crypto-mb LIBRARY] [--once]";

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"core", required_argument, NULL, 'c'},	     {"ms", required_argument, NULL, 'm'},
		{"key", required_argument, NULL, 'k'},	     {"crypto-mb", required_argument, NULL, 'l'},
		{"once", no_argument, NULL, 'e'},	     {NULL, 0, NULL, 0},
	};
	const char *library = NULL;
	unsigned int core = 0;
	bool once = false;
	cpu_set_t only;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'c': core = peer_number("core", optarg, 0, 1023); break;
		case 'm': ms = peer_number("ms", optarg, 1, PEER_MS_MAX); break;
		case 'k': load(optarg); break;
		case 'l': library = optarg; break;
		case 'e': once = true; break;
		default: peer_die("%s", usage);
		}
	}
	if (optind != argc || key_count == 0)
		peer_die("%s", usage);

	peer_core("core", core);
	CPU_ZERO(&only);
	CPU_SET(core, &only);
	if (sched_setaffinity(0, sizeof(only), &only) != 0)
		peer_die("--core %u: cannot move there", core);
	snprintf(title, sizeof(title), "OpenSSL %s", OpenSSL_version(OPENSSL_VERSION_STRING));
	for (unsigned int i = 0; i < key_count; i++)
		prepare(&keys[i]);
	if (library != NULL)
		crypto_mb(library);
	peer_serve(once, measure);
	return EXIT_SUCCESS;
}
