#pragma once
/* The C interface between stockpot and a library that computes on a device, such as
 * libstockpot-cuda.so. The library exports one symbol, STOCKPOT_BACKEND_SYMBOL, a function of type
 * stockpot_backend_entry. Plain C types only: the two sides may be built by different compilers.
 *
 * Version: both sides must have the same STOCKPOT_BACKEND_VERSION; it is raised with every change
 * that is not an addition at the end of `struct stockpot_backend` (whose `size` tells how much of
 * it the library knows).
 *
 * Functions that can fail return 0, or a stockpot_status and fill *failure. All functions may be
 * called from any thread. Device addresses are plain numbers.
 */
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define STOCKPOT_BACKEND_VERSION 1u
#define STOCKPOT_BACKEND_SYMBOL "stockpot_backend_v1"

enum stockpot_status {
  STOCKPOT_OK = 0,
  STOCKPOT_NO_DRIVER = 1,     /* the driver's library is not there */
  STOCKPOT_OLD_DRIVER = 2,    /* it is older than the runtime that the library was built with */
  STOCKPOT_NO_DEVICE = 3,     /* the driver sees no device */
  STOCKPOT_OLD_DEVICE = 4,    /* the device is older than all code in the library */
  STOCKPOT_OUT_OF_MEMORY = 5, /* bytes_asked and bytes_free are set */
  STOCKPOT_INVALID = 6,       /* a mistake of the caller */
  STOCKPOT_FAILED = 7         /* anything else; `message` has the driver's words */
};

struct stockpot_failure {
  uint32_t status;
  uint32_t reserved;
  uint64_t bytes_asked, bytes_free;
  char message[256];
};

/* What the library finds on this machine. Fills `status`, and with STOCKPOT_OK everything. */
struct stockpot_probe {
  uint32_t status;
  int32_t device_count;
  int32_t driver_version;   /* as the driver gives it, e.g. 13000; 0: unknown */
  int32_t runtime_version;  /* that the library was built with */
  uint64_t matmul_version;  /* of the matrix product library (cuBLASLt); 0: not found */
  char message[256];        /* why status is not 0 */
  char matmul_message[256]; /* why matmul_version is 0: what was looked for */
};

struct stockpot_device_info {
  char name[128];
  uint64_t memory_total, memory_free; /* bytes */
  int32_t major, minor;               /* compute capability */
  int32_t multiprocessors;
  int32_t usable; /* the library has code for it */
};

/* Each context has three streams; work on one stream runs in order. */
enum stockpot_stream { STOCKPOT_COMPUTE = 0, STOCKPOT_COPY_IN = 1, STOCKPOT_COPY_OUT = 2 };

enum stockpot_operation {
  /* Per tensor: out = the mean or weighted sum of its inputs, as native/kernels/mean.h defines it.
   * Result: one stockpot_mean_report a tensor. */
  STOCKPOT_MEAN = 0,
  /* result[group · k + i] = sum of other · input_i over the group's tensors: float64 products
   * and sums, in an order that follows from the shapes and types alone. */
  STOCKPOT_DOTS = 1,
  /* result[(group · k + i) · k + j] = sum of d_i · d_j with d_i = input_i - other (or input_i
   * where other is 0), in the same way. */
  STOCKPOT_GRAM = 2
};

struct stockpot_input {
  uint64_t data;  /* device address; fast where it is a multiple of 16 */
  uint32_t dtype; /* native/kernels/dtype.h, floating-point */
  uint32_t reserved;
};

struct stockpot_tensor {
  uint64_t elements;
  uint32_t first_input; /* position of its first input in stockpot_plan_spec::inputs */
  uint32_t inputs;      /* k; the same for all tensors of DOTS and GRAM */
  int32_t
      weights; /* MEAN: row of stockpot_plan_spec::weights where its first weight is, -1: equal */
  uint32_t group; /* DOTS, GRAM: not falling from tensor to tensor */
  uint64_t out;   /* MEAN: device address of the result; overlaps no input */
  uint64_t
      second; /* MEAN: and of a copy of it in another type, rounded from the same float64; or 0 */
  uint64_t other;                   /* DOTS: the vector; GRAM: the reference or 0 */
  uint32_t out_dtype, second_dtype; /* F64, F32, F16, BF16 */
  uint32_t other_dtype;
  uint32_t reserved;
};

/* What a mean saw on its way, added to what is there. The host zeroes it. */
struct stockpot_mean_report {
  uint64_t nonfinite; /* elements with a NaN or infinite input */
  uint64_t overflows; /* finite means that out_dtype cannot hold */
};

/* All tables lie in host memory and are copied by plan_create. */
struct stockpot_plan_spec {
  uint32_t size; /* of this struct */
  uint32_t operation;
  uint32_t tensor_count, input_count, weight_count, group_count;
  const struct stockpot_tensor* tensors;
  const struct stockpot_input* inputs;
  const double* weights; /* weight_count numbers */
  uint64_t result;       /* device address, see stockpot_operation */
};

/* A network: the graph of native/executor/graph.h, which says what the operations and their numbers
 * are, in flat tables. */
enum stockpot_number {
  STOCKPOT_NUMBER_F32 = 0, /* everything float32: decides as the processor does */
  STOCKPOT_NUMBER_BF16 = 1,
  STOCKPOT_NUMBER_F16 = 2 /* values, matrices and tables are; vectors and gradients of weights
                             stay float32, sums are float32 */
};

struct stockpot_graph_op {
  uint32_t kind; /* OpKind */
  int32_t out, x, y, z, input, weight, bias, scale_weight;
  uint32_t activation; /* Activation */
  uint32_t transposed;
  float number;
  uint32_t number_count, first_bucket, bucket_count, reserved;
  int64_t numbers[8];
};

struct stockpot_graph_input {
  uint64_t elements; /* an example, or in all where shared */
  uint32_t integers, shared;
};

struct stockpot_graph_weight {
  uint32_t dimensions, reserved;
  uint64_t shape[8];
};

struct stockpot_graph_value {
  uint64_t rows, columns; /* rows an example */
};

struct stockpot_network_spec {
  uint32_t size; /* of this struct */
  uint32_t number;
  uint32_t largest_batch;
  uint32_t training;         /* 1: backward runs too */
  uint64_t activation_bytes; /* training: what values, kept or computed again, may take; 0: all */
  uint32_t input_count, weight_count, value_count, op_count, bucket_count;
  int32_t output;
  const struct stockpot_graph_input* inputs;
  const struct stockpot_graph_weight* weights;
  const struct stockpot_graph_value* values;
  const struct stockpot_graph_op* ops;
  const int32_t* buckets; /* of all ops */
};

/* Bytes of the device that a network takes. */
struct stockpot_network_sizes {
  uint64_t weights, activations, gradients, scratch;
  uint32_t segments; /* of a training network: 1 keeps everything */
  uint32_t reserved;
};

/* Where an input of a batch lies on the device, row-major. Images may be bytes, which are
 * normalised as (byte · factor - mean[c]) / deviation[c] on their way in. Ids must be within their
 * tables. */
struct stockpot_network_input {
  uint64_t data;
  uint32_t bytes; /* 1: images of bytes; 0: float32, or int32 where the graph says integers */
  float factor, mean[4], deviation[4];
};

/* Rows of a table that lies on the device, put one after another: a batch of examples. */
struct stockpot_gather {
  uint64_t table;  /* device address of its first row */
  uint64_t rows;   /* that it has */
  uint64_t stride; /* bytes from one row to the next */
  uint64_t bytes;  /* of each row that is taken, its first ones */
  /* 0: bytes are copied. Else they are looked up: the device address of float32 [channels, 256]; of
   * each row, byte b in the c-th of `channels` (at most 4) equal parts becomes the float32 [c, b].
   */
  uint64_t values;
  uint32_t channels;
  uint32_t count;
  const uint32_t* indices; /* `count` rows; host memory that is free again on return */
  uint64_t out; /* device address of `count` rows of `bytes` bytes, or so many float32; fast where
                   this, the table, stride and bytes are multiples of 16 */
};

struct stockpot_context;
struct stockpot_network;
struct stockpot_plan;
struct stockpot_event;

struct stockpot_backend {
  uint32_t version, size;
  const char* name; /* "cuda" */

  void (*probe)(struct stockpot_probe*);
  int (*device)(uint32_t index, struct stockpot_device_info*, struct stockpot_failure*);

  int (*open)(uint32_t device, struct stockpot_context**, struct stockpot_failure*);
  void (*close)(struct stockpot_context*); /* waits for all work and frees everything */
  int (*synchronize)(struct stockpot_context*, struct stockpot_failure*);
  int (*memory)(struct stockpot_context*, uint64_t* free_bytes, uint64_t* total_bytes,
                struct stockpot_failure*);

  int (*allocate)(struct stockpot_context*, uint64_t bytes, uint64_t* address,
                  struct stockpot_failure*);
  void (*release)(struct stockpot_context*, uint64_t address);
  /* Host memory that is copied at full speed while other work runs. */
  int (*allocate_host)(struct stockpot_context*, uint64_t bytes, void**, struct stockpot_failure*);
  void (*release_host)(struct stockpot_context*, void*);

  /* Start a copy and return. Host memory must stay as it is until an event after it has passed. */
  int (*copy_in)(struct stockpot_context*, uint32_t stream, uint64_t to, const void* from,
                 uint64_t bytes, struct stockpot_failure*);
  int (*copy_out)(struct stockpot_context*, uint32_t stream, void* to, uint64_t from,
                  uint64_t bytes, struct stockpot_failure*);
  int (*fill_zero)(struct stockpot_context*, uint32_t stream, uint64_t to, uint64_t bytes,
                   struct stockpot_failure*);

  int (*event_create)(struct stockpot_context*, struct stockpot_event**, struct stockpot_failure*);
  void (*event_destroy)(struct stockpot_context*, struct stockpot_event*);
  int (*event_record)(struct stockpot_context*, struct stockpot_event*, uint32_t stream,
                      struct stockpot_failure*);
  int (*event_wait)(struct stockpot_context*, struct stockpot_event*, struct stockpot_failure*);
  int (*stream_wait)(struct stockpot_context*, uint32_t stream, struct stockpot_event*,
                     struct stockpot_failure*);
  /* Milliseconds between two events that have passed. */
  int (*event_elapsed)(struct stockpot_context*, struct stockpot_event* first,
                       struct stockpot_event* last, double* milliseconds, struct stockpot_failure*);

  /* A plan is made once and run often, on one stream at a time. */
  int (*plan_create)(struct stockpot_context*, const struct stockpot_plan_spec*,
                     struct stockpot_plan**, struct stockpot_failure*);
  /* Puts the work on the stream and returns. weights: new ones (weight_count numbers), or NULL. */
  int (*plan_run)(struct stockpot_context*, struct stockpot_plan*, const double* weights,
                  uint32_t stream, struct stockpot_failure*);
  /* When all its work has passed. */
  void (*plan_destroy)(struct stockpot_context*, struct stockpot_plan*);

  /* Networks. One is used by one thread at a time, on one stream. */
  int (*network_plan)(struct stockpot_context*, const struct stockpot_network_spec*,
                      struct stockpot_network_sizes*, struct stockpot_failure*);
  int (*network_create)(struct stockpot_context*, const struct stockpot_network_spec*,
                        struct stockpot_network**, struct stockpot_failure*);
  void (*network_destroy)(struct stockpot_context*, struct stockpot_network*);
  /* Where weight i lies, row-major as stored, and its type (native/kernels/dtype.h): F32 for
   * vectors and in float32 networks, else BF16 or F16. A mean's `out` or `second`, or a copy. */
  int (*network_weight)(struct stockpot_context*, struct stockpot_network*, uint32_t i,
                        uint64_t* address, uint32_t* dtype, struct stockpot_failure*);
  /* Where the derivative by weight i, or by shared input i, lies: float32, as stored; 0 where
   * there is none. */
  int (*network_gradient)(struct stockpot_context*, struct stockpot_network*, uint32_t i,
                          uint64_t* address, struct stockpot_failure*);
  int (*network_input_gradient)(struct stockpot_context*, struct stockpot_network*, uint32_t i,
                                uint64_t* address, struct stockpot_failure*);
  /* batch <= largest_batch examples; out: device address, float32, a row of the output an example.
   * Puts the work on the stream and returns. */
  int (*network_forward)(struct stockpot_context*, struct stockpot_network*,
                         const struct stockpot_network_input* inputs, uint32_t batch, uint64_t out,
                         uint32_t stream, struct stockpot_failure*);
  /* After the forward pass of the same inputs and batch. Adds the derivatives of a loss to the
   * gradients; dout: its derivatives by the output, float32. In float16 it waits for the result:
   * STOCKPOT_FAILED where a gradient is not finite. */
  int (*network_backward)(struct stockpot_context*, struct stockpot_network*,
                          const struct stockpot_network_input* inputs, uint32_t batch,
                          uint64_t dout, uint32_t stream, struct stockpot_failure*);
  int (*network_zero_gradients)(struct stockpot_context*, struct stockpot_network*, uint32_t stream,
                                struct stockpot_failure*);

  /* Puts the work on the stream and returns. An index of a row that the table does not have is
   * STOCKPOT_INVALID, and nothing is started. */
  int (*gather)(struct stockpot_context*, const struct stockpot_gather*, uint32_t stream,
                struct stockpot_failure*);
};

/* The library's functions, or NULL where it does not have that version. */
typedef const struct stockpot_backend* (*stockpot_backend_entry)(uint32_t version);

#ifdef __cplusplus
}
#endif
