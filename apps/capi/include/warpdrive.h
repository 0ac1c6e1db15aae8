/*
 * libwarpdrive: queues of accelerators.
 *
 *     struct wd_queue q = { .device = "hisi_zip-0", .root = "/run/warpdrive" };
 *     struct wd_zip_req req = { .format = WD_ZIP_ZLIB, .src = in, .src_len = n, .dst = out, .dst_len = room };
 *     void *done;
 *
 *     if (wd_request_queue(&q) == 0 && wd_send(&q, &req) == 0 && wd_recv_sync(&q, &done, 1000) == 0)
 *         printf("%d, %u bytes\n", req.status, req.produced);
 *     wd_release_queue(&q);
 *
 * Errors are negative numbers of errno.h, which is set too: of calls that return pointers or nothing it is the only sign,
 * and those that return nothing leave it as it was when they succeed. wd_last_error says more. NULL and queues that were
 * released are errors, and nothing happens. A bug of the library is -ENOTRECOVERABLE, and is written to stderr.
 *
 * Threads. A queue has one owner: whoever uses it lets nobody else use it meanwhile, else that one gets -EALREADY. It may
 * be handed to another thread. Different queues know nothing of each other.
 *
 * Fork. A child has no queue: calls with its parent's queues are -EPERM, also the release, and the memory that was
 * reserved is not there. It may request queues of its own. The parent goes on as before.
 *
 * This file is made by cbindgen from the library's sources.
 */


#ifndef WARPDRIVE_H
#define WARPDRIVE_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

/**
 * Bytes of a path in a `struct wd_queue`, with the zero at its end.
 */
#define PATH_STR_SIZE 256

/**
 * Regions of a queue file: registers, the queue's own memory, memory that is reserved with it.
 */
#define UACCE_QFRT_MAX 3

/**
 * In `wd_queue.kind`: a queue of a ZIP device that compresses. Queues of all other devices have this number too.
 */
#define WD_COMPRESS 0

/**
 * In `wd_queue.kind`: a queue of a ZIP device that decompresses.
 */
#define WD_DECOMPRESS 1

/**
 * In `uacce_dev_info.iommu_type`: devices work on the virtual addresses of the process, all of them.
 */
#define WD_SVA 0

/**
 * In `uacce_dev_info.iommu_type`: devices reach memory that was reserved or shared, by addresses of their own.
 */
#define WD_SHARE_DOMAIN 1

/**
 * In `uacce_dev_info.iommu_type`: devices reach memory that was reserved, by physical addresses.
 */
#define WD_NOIOMMU 2

/**
 * In `uacce_dev_info.extensions`: the device is one of `warpdrive serve`.
 */
#define WD_EXT_SERVED 1

/**
 * In `uacce_dev_info.extensions`: what `wd_reserve_mem` and `wd_mem_share` give it is not copied.
 */
#define WD_EXT_SHARE 2

/**
 * In `uacce_dev_info.extensions`: it takes levels of compression.
 */
#define WD_EXT_LEVEL 4

/**
 * In `uacce_dev_info.extensions`: it knows `WD_RSA_NULL`.
 */
#define WD_EXT_NULL 8

/**
 * In `wd_rsa_req.op`: `dst = src ^ exponent mod modulus`. The key is the exponent and the modulus, each `bytes` long.
 */
#define WD_RSA_NOCRT 0

/**
 * In `wd_rsa_req.op`: the private operation by Chinese remainders. The key is dQ, dP, q, p and 1/q mod p, each half of `bytes`.
 */
#define WD_RSA_CRT 1

/**
 * In `wd_rsa_req.op`: nothing is read, computed or written; of devices with `WD_EXT_NULL`. To measure the way there and back.
 */
#define WD_RSA_NULL 31

/**
 * In `wd_zip_req.format`: DEFLATE (RFC 1951).
 */
#define WD_ZIP_DEFLATE 1

/**
 * In `wd_zip_req.format`: zlib (RFC 1950).
 */
#define WD_ZIP_ZLIB 2

/**
 * In `wd_zip_req.format`: gzip (RFC 1952).
 */
#define WD_ZIP_GZIP 3

/**
 * In the flags of `wd_mem_share`: the device may read the memory.
 */
#define WD_MEM_READ 1

/**
 * In the flags of `wd_mem_share`: the device may write to the memory.
 */
#define WD_MEM_WRITE 2

/**
 * What is known of a device.
 */
struct uacce_dev_info {
  /**
   * The node of memory next to it; negative: none.
   */
  int node_id;
  /**
   * `WD_SVA`, `WD_SHARE_DOMAIN` or `WD_NOIOMMU`.
   */
  int iommu_type;
  /**
   * The attribute `flags`.
   */
  int flags;
  /**
   * Queues that could still be had when this one was requested; negative: not known.
   */
  int available_instances;
  /**
   * What it does beyond what the kernel's devices do: `WD_EXT_...`.
   */
  uint32_t extensions;
  /**
   * Its name, such as "hisi_zip-0".
   */
  char name[64];
  /**
   * What its queues look like, such as "hisi_qm_v2".
   */
  char api[64];
  /**
   * What it computes, separated by blanks.
   */
  char algs[256];
  /**
   * Where regions begin in the queue file.
   */
  unsigned long qfrs_offset[UACCE_QFRT_MAX];
};

/**
 * A queue. Set it to zeros, fill in the first part, and request it; it stays where it is until it is released. The second part is
 * for reading.
 */
struct wd_queue {
  /**
   * A device, such as "hisi_zip-0", or what is to be computed, such as "rsa": then the nearest device that does it and has a
   * queue left.
   */
  const char *device;
  /**
   * The folder of `warpdrive serve`, in which the devices are. NULL: those of the kernel, in /sys/class/uacce and /dev.
   */
  const char *root;
  /**
   * `WD_COMPRESS` or `WD_DECOMPRESS`; 0 of other devices.
   */
  uint32_t kind;
  /**
   * Requests that may be in flight. 0: as many as there is room for.
   */
  uint32_t depth;
  /**
   * The device. Valid until the queue is released.
   */
  const struct uacce_dev_info *dev_info;
  /**
   * The queue file, for poll and epoll. It belongs to the queue: not to be closed.
   */
  int fd;
  /**
   * The path of the queue file, cut off if it is longer.
   */
  char dev_path[PATH_STR_SIZE];
  /**
   * Reserved memory, or NULL.
   */
  void *ss_va;
  /**
   * The address of the reserved memory for the device, or NULL. Without an IOMMU that of its first page, and others need not
   * follow.
   */
  void *ss_dma;
  /**
   * Of the library.
   */
  uint64_t handle;
};

/**
 * An operation of RSA on numbers, without padding: which by itself is neither encryption nor a signature. Numbers are big-endian,
 * with zeros in front. The device reads key and source, and writes the destination, until the request is received. Results of
 * hardware are not checked: who gives signatures away verifies them first.
 */
struct wd_rsa_req {
  /**
   * `WD_RSA_NOCRT`, `WD_RSA_CRT` or `WD_RSA_NULL`.
   */
  uint32_t op;
  /**
   * Bytes of the modulus, of `src` and of `dst`: 128, 256, 384 or 512.
   */
  uint32_t bytes;
  /**
   * The numbers of the key, side by side.
   */
  const void *key;
  /**
   * The number to compute on.
   */
  const void *src;
  /**
   * Where the result goes.
   */
  void *dst;
  /**
   * Result: 0; -EFAULT: an address is not the device's to use; -EINVAL: no such key, or a number not below the modulus; -EIO: the
   * device failed; -ECANCELED: it went away. -EINPROGRESS until then.
   */
  int status;
  /**
   * The caller's own.
   */
  void *user;
};

/**
 * A whole piece to compress or decompress. The device reads the source and writes the destination until the request is received.
 * Headers of zlib and gzip are written by `wd_send` to the destination, and read by it from the source.
 */
struct wd_zip_req {
  /**
   * `WD_ZIP_DEFLATE`, `WD_ZIP_ZLIB` or `WD_ZIP_GZIP`.
   */
  uint32_t format;
  /**
   * Of compression: 1 (fast) to 12 (small), for devices with `WD_EXT_LEVEL`; 0: the device's own.
   */
  uint32_t level;
  /**
   * What is to be compressed or decompressed.
   */
  const void *src;
  /**
   * Bytes of it: up to 8 MiB.
   */
  uint32_t src_len;
  /**
   * Bytes of room at `dst`, of which up to 8 MiB are used.
   */
  uint32_t dst_len;
  /**
   * Where the result goes, apart from the source.
   */
  void *dst;
  /**
   * Result: bytes of the source that were used. Less than all if what was compressed ended before.
   */
  uint32_t consumed;
  /**
   * Result: bytes of the destination that were written.
   */
  uint32_t produced;
  /**
   * Result: Adler-32 of zlib, CRC-32 of gzip, of the uncompressed bytes; 0 of DEFLATE.
   */
  uint32_t checksum;
  /**
   * Result: 0; -ENOSPC: the destination is too small, or 8 MiB are; -EBADMSG: the source is nothing that was compressed so; -ENODATA: it ends too
   * early, which devices may also tell as -EBADMSG or -ENOSPC; -EFAULT: an address is not the device's to use; -EIO: the device failed; -ECANCELED: it went away. -EINPROGRESS until
   * then.
   */
  int status;
  /**
   * The caller's own.
   */
  void *user;
};

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Requests a queue, and fills in the second part of `q`.
 *
 * Returns 0, or a negative error: -EINVAL: `q` or its first part makes no sense; -EEXIST: `q` has a queue; -ENODEV: there is no such
 * device; -EBUSY: all its queues are in use; -EACCES or -EPERM: it may not be opened; -EOPNOTSUPP: there is no driver for it here;
 * -EMFILE: the process has 1,024 queues; else what the kernel says.
 *
 * `q` is a `struct wd_queue` whose strings are NULL or end with a zero; they are not needed afterwards.
 */
int wd_request_queue(struct wd_queue *q);

/**
 * Releases a queue. What is in flight is waited for up to two seconds, and for as long as the device takes to stop (that of `warpdrive
 * serve` five seconds at most), and is not given back: when this returns the device touches
 * neither requests nor memory of the queue any more, and what was reserved and shared with nobody else is unmapped.
 *
 * A queue that was released before, NULL, and a queue of the parent process are left alone; errno says so. With errno EBUSY the queue
 * is released, but its device does not say that it has stopped: memory that requests name is to stay.
 *
 * `q` is NULL or the `struct wd_queue` that was requested.
 */
void wd_release_queue(struct wd_queue *q);

/**
 * Sends a request: a `struct wd_rsa_req` to a device for RSA, a `struct wd_zip_req` to a device for ZIP. Addresses in it are those of
 * the process; those of the device are made of them here. There is no system call.
 *
 * Returns 0; -EBUSY: the queue is full, receive first; -EFAULT: the device does not reach memory of the request (only without shared
 * virtual addressing, else the request's status tells); -EINVAL, -ENOSPC, -EBADMSG, -ENODATA, -EMSGSIZE, -EOPNOTSUPP: the request makes
 * no sense, as its status would say; -ENODEV: the device is gone; -EPERM: the queue is the parent process's. When it is not 0, the
 * request was not sent.
 *
 * `req` is such a structure. Until it is received, or the queue released, it stays where it is, nobody writes to it or to what it
 * reads, and nobody accesses what it writes.
 */
int wd_send(struct wd_queue *q,
            void *req);

/**
 * Sends an entry as the device has it: 64 bytes of HPRE, 128 bytes of ZIP. For operations that have no structure here. Addresses in
 * it are those of the device, see `wd_get_dma_from_va`. It is received as `entry`, with what the device has written in it.
 *
 * Returns as `wd_send`.
 *
 * `entry` is as many bytes, at a multiple of 4, under the rules of `wd_send`. When the device goes away, it is received as it was
 * sent.
 */
int wd_send_raw(struct wd_queue *q,
                void *entry);

/**
 * Receives a request that is done: `*resp` is the pointer that was sent. Its status says how it ended. Requests may come in another
 * order than they were sent in. There is no system call.
 *
 * Returns 0; -EAGAIN: none is done, or none was sent; -ENODEV: the device is gone, and everything was received (what it had comes
 * back with the status -ECANCELED); -EBUSY: it is gone, or may still be at work, and nothing more comes back: what requests name is to
 * stay; -EIO: it has written what makes no sense; -EPERM: the queue is the parent process's.
 *
 * `resp` points to a pointer, which is written to if 0 is returned.
 */
int wd_recv(struct wd_queue *q,
            void **resp);

/**
 * Receives a request, waiting for it up to `ms` milliseconds: by looking for some microseconds, then in the kernel.
 *
 * Returns as `wd_recv`; -ETIMEDOUT: none was done in this time; -EAGAIN, at once: none was sent.
 *
 * `resp` points to a pointer, which is written to if 0 is returned.
 */
int wd_recv_sync(struct wd_queue *q, void **resp, uint16_t ms);

/**
 * Makes sure that the device knows of everything that was sent. It does already when `wd_send` returns; errno says if the device is
 * gone.
 *
 * `q` is NULL or a `struct wd_queue` that was requested.
 */
void wd_flush(struct wd_queue *q);

/**
 * What went wrong in the last call of this thread that failed otherwise than by -EAGAIN, -ETIMEDOUT or a full queue: what, where,
 * why, and what to do. Empty if nothing has. Valid until the next call that fails, or the thread's end; never NULL.
 */
const char *wd_last_error(void);

/**
 * Reserves memory that the device of a queue works on without a copy; once for a queue. It is filled with zeros, is mapped until all
 * queues are released that it is shared with, and is not there in a child. With shared virtual addressing any memory will do, and this
 * is for speed.
 *
 * Returns its address, which is also in `q->ss_va`, and at `q->ss_dma` for the device. NULL with errno: EINVAL: no bytes; EEXIST: the
 * queue has some; ENOMEM: there is none, or less, or the process has
 * reserved some already, which can be once where devices lack `WD_EXT_SHARE`; EOPNOTSUPP: the device takes none; EPERM: the queue is the parent process's.
 *
 * `q` is NULL or a `struct wd_queue` that was requested.
 */
void *wd_reserve_mem(struct wd_queue *q,
                     size_t size);

/**
 * Lets the device of `target_q` work on what was reserved for `q`. It stays mapped until both are released.
 *
 * Returns 0; -EINVAL: nothing was reserved for `q`, or both are one queue; -EEXIST: `target_q` has memory of its own; -EXDEV: its
 * device is of another mode, or of another server that has reserved the memory; -EOPNOTSUPP: its device takes none; -EPERM: a queue is
 * the parent process's.
 *
 * Both are NULL or a `struct wd_queue` that was requested.
 */
int wd_share_reserved_memory(struct wd_queue *q,
                             struct wd_queue *target_q);

/**
 * The address for the device of what is at `va` in the process: `va` itself with shared virtual addressing; else of memory of
 * `wd_reserve_mem` and `wd_mem_share`. Without an IOMMU what follows may be elsewhere at the next page. There is no call for the other
 * direction.
 *
 * Returns NULL with errno EFAULT if the device does not reach it.
 *
 * `q` is NULL or a `struct wd_queue` that was requested; `va` is only looked at as a number.
 */
void *wd_get_dma_from_va(struct wd_queue *q,
                         void *va);

/**
 * Gives the device of a queue memory of the caller's: whole pages that are mapped, shared, of a memfd that is sealed against shrinking
 * (F_SEAL_SHRINK). Ranges are counted. With shared virtual addressing `flags` are for all queues of the process on devices of that
 * server; other memory needs no sharing there: this does nothing then, and `flags` limit nothing. In a Share Domain requests of this
 * queue may name the memory, and those of others if it is shared with them too.
 *
 * `flags` are `WD_MEM_READ` and `WD_MEM_WRITE`: requests that want more end with -EFAULT.
 *
 * Returns 0; -EINVAL: no memory, no flags, no whole pages, or no such memfd; -EEXIST: a part of the range was given with other flags;
 * -ENOSPC: too many ranges; -EOPNOTSUPP: the device does not reach such memory; -EPERM: the queue is the parent process's.
 *
 * `q` is NULL or a `struct wd_queue` that was requested; `addr` is only looked at as a number.
 */
int wd_mem_share(struct wd_queue *q,
                 const void *addr,
                 size_t size,
                 int flags);

/**
 * Takes memory back that was given by `wd_mem_share`, once for each time. When it returns, the device does not touch it any more:
 * requests that name it end with -EFAULT, but with shared virtual addressing, where it is memory like any other.
 *
 * errno says why it was not: ENOENT: `q` was not given it; EBUSY: it is still worked on after five seconds; EPERM: the queue is the
 * parent process's.
 *
 * `q` is NULL or a `struct wd_queue` that was requested; `addr` is only looked at as a number.
 */
void wd_mem_unshare(struct wd_queue *q,
                    const void *addr,
                    size_t size);

/**
 * Makes small blocks of `size` bytes at `pt_addr`, which are aligned to `align_mask + 1` bytes, a power of two. Blocks of an earlier
 * `smm_init` of any of these bytes are forgotten. The memory itself is not touched. If it was reserved with a queue, blocks are in one
 * piece for devices, and go when it goes.
 *
 * These calls may be made by any thread.
 *
 * Returns 0; -EINVAL: no memory, no such alignment.
 *
 * `pt_addr` is only looked at as a number.
 */
int smm_init(void *pt_addr,
             size_t size,
             int align_mask);

/**
 * Allocates a block of `size` bytes.
 *
 * Returns its address. NULL with errno: ENOMEM: there is no such piece left; EINVAL: `pt_addr` is not that of an `smm_init` of this
 * process, or its memory has gone with its queue.
 *
 * `pt_addr` is only looked at as a number.
 */
void *smm_alloc(void *pt_addr,
                size_t size);

/**
 * Frees a block. NULL is none, and nothing happens. What is no block, or was freed before, is left alone; errno is EINVAL then.
 *
 * `pt_addr` and `ptr` are only looked at as numbers.
 */
void smm_free(void *pt_addr,
              void *ptr);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* WARPDRIVE_H */
