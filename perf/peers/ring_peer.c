/* rte_ring from one core to another: the price of moving a pointer. See README.md. */
#include "dpdk.h"

#include <rte_launch.h>
#include <rte_pause.h>
#include <rte_ring.h>

#define CONSUMER 1u /* lcore id; the producer is the main lcore, 0 */

static unsigned int ms = 200, bulk = 32, size = 1024;
static struct rte_ring *ring;
static bool stop;
static uint64_t received, empty_polls;

static inline __attribute__((always_inline)) void consume_bulks(const unsigned int n)
{
	void *objects[PEER_BULK_MAX];
	uint64_t sum = 0, got = 0, empty = 0;

	for (;;) {
		unsigned int k = rte_ring_sc_dequeue_burst(ring, objects, n, NULL);

		if (unlikely(k == 0)) {
			/* Only after the flag is the ring empty for good; the acquire pairs with the producer's release. */
			if (__atomic_load_n(&stop, __ATOMIC_ACQUIRE) && rte_ring_empty(ring))
				break;
			empty++;
			rte_pause();
			continue;
		}
		for (unsigned int i = 0; i < k; i++)
			sum += (uintptr_t)objects[i];
		got += k;
	}
	/* The producer sends 1 only, so that a lost or torn pointer shows. */
	if (sum != got)
		peer_die("the ring corrupted its objects: %" PRIu64 " of %" PRIu64, sum, got);
	received = got;
	empty_polls = empty;
}

static int consume(void *unused)
{
	(void)unused;
	switch (bulk) {
	case 1: consume_bulks(1); break;
	case 8: consume_bulks(8); break;
	case 32: consume_bulks(32); break;
	default: consume_bulks(bulk); break;
	}
	return 0;
}

static inline __attribute__((always_inline)) uint64_t produce_bulks(const unsigned int n, uint64_t until, uint64_t *full)
{
	void *objects[PEER_BULK_MAX];
	uint64_t sent = 0;

	for (unsigned int i = 0; i < n; i++)
		objects[i] = (void *)(uintptr_t)1;
	do {
		for (unsigned int i = 0; i < 64; i++) {
			if (rte_ring_sp_enqueue_bulk(ring, objects, n, NULL) == 0) {
				++*full;
				rte_pause();
			} else {
				sent += n;
			}
		}
	} while (rte_rdtsc() < until);
	return sent;
}

static void measure(void)
{
	uint64_t sent, full = 0;

	__atomic_store_n(&stop, false, __ATOMIC_RELEASE);
	if (rte_eal_remote_launch(consume, NULL, CONSUMER) != 0)
		peer_die("the consumer's lcore is busy");
	const uint64_t start = rte_rdtsc_precise();
	const uint64_t until = start + rte_get_tsc_hz() / 1000 * ms;

	switch (bulk) {
	case 1: sent = produce_bulks(1, until, &full); break;
	case 8: sent = produce_bulks(8, until, &full); break;
	case 32: sent = produce_bulks(32, until, &full); break;
	default: sent = produce_bulks(bulk, until, &full); break;
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELEASE);
	rte_eal_wait_lcore(CONSUMER);
	const uint64_t end = rte_rdtsc_precise();

	if (received != sent)
		peer_die("the ring lost objects: sent %" PRIu64 ", received %" PRIu64, sent, received);
	printf("{\"name\":\"ring-spsc-%u\",\"bulk\":%u,\"size\":%u,", bulk, bulk, size);
	peer_result(end - start, received, full, empty_polls);
}

static const char usage[] =
	"ring_peer [--producer CORE] [--consumer CORE] [--ms N] [--bulk N] [--size SLOTS] [--huge] [--once]";

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"producer", required_argument, NULL, 'p'}, {"consumer", required_argument, NULL, 'c'},
		{"ms", required_argument, NULL, 'm'},	    {"bulk", required_argument, NULL, 'b'},
		{"size", required_argument, NULL, 's'},	    {"huge", no_argument, NULL, 'h'},
		{"once", no_argument, NULL, 'e'},	    {NULL, 0, NULL, 0},
	};
	unsigned int producer = 0, consumer = 1;
	bool huge = false, once = false;
	char lcores[48];
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'p': producer = peer_number("producer", optarg, 0, 1023); break;
		case 'c': consumer = peer_number("consumer", optarg, 0, 1023); break;
		case 'm': ms = peer_number("ms", optarg, 1, PEER_MS_MAX); break;
		case 'b': bulk = peer_number("bulk", optarg, 1, PEER_BULK_MAX); break;
		case 's': size = peer_number("size", optarg, 2, 1 << 20); break;
		case 'h': huge = true; break;
		case 'e': once = true; break;
		default: peer_die("%s", usage);
		}
	}
	if (optind != argc)
		peer_die("%s: unknown argument\n%s", argv[optind], usage);
	if (producer == consumer)
		peer_die("--producer and --consumer are both core %u: two spinning threads need a core each", producer);
	if (bulk >= size)
		peer_die("--bulk %u: must be less than --size %u", bulk, size);

	peer_core("producer", producer);
	peer_core("consumer", consumer);
	snprintf(lcores, sizeof(lcores), "0@%u,1@%u", producer, consumer);
	peer_eal(argv[0], lcores, huge);
	ring = rte_ring_create("peer", size, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
	if (ring == NULL)
		peer_die("a ring of %u slots (a power of two): %s", size, rte_strerror(rte_errno));
	peer_serve(once, measure);
	return rte_eal_cleanup() == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
