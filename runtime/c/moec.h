// moec in C99: models, sessions, steps and the loop, for whoever does not call C++. A thin layer over runtime/Session.h
// and runtime/recompile/Recompiler.h, which say more of each; tools/python is Python over this.
//
// What returns a MoecCode gives MOEC_OK or leaves a sentence in moec_last_error(). Structs that are handed in begin
// with their size, as the caller knows it, and a zero in any other field is its default:
//
//   MoecSessionOptions options = {.size = sizeof options, .device = "cuda"};
//
// So a program built against an older header goes on working. Strings are UTF-8 and copied; pointers to handles may not
// be null.
#ifndef MOEC_H
#define MOEC_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Counts up with what is added; nothing of an older version is changed or taken away.
#define MOEC_API_VERSION 1

// What kind of thing went wrong.
typedef enum MoecCode {
  MOEC_OK = 0,
  MOEC_FAILURE,
  MOEC_INVALID_ARGUMENT,
  MOEC_INVALID_MODEL,
  MOEC_COMPILE_FAILED,
  MOEC_DEVICE_MISSING,
  MOEC_CACHE_CORRUPT,
  MOEC_VERIFICATION_MISMATCH,
  MOEC_PEER_FAILED,
  MOEC_COMPILE_FORBIDDEN,
  MOEC_RESOURCE_EXHAUSTED,
  MOEC_NOT_FOUND,
  MOEC_CANCELLED,
  MOEC_DEVICE_LOST
} MoecCode;

typedef enum MoecDType { MOEC_F32 = 0, MOEC_BF16, MOEC_F16 } MoecDType;

// MOEC_API_VERSION of the library that is loaded.
uint32_t moec_api_version(void);
// "0.1.0+<build id>".
const char *moec_version(void);
// Of this thread's last call that failed; valid until its next one that does. "" before the first.
const char *moec_last_error(void);
// "invalid-model"; "unknown" for what is no code.
const char *moec_code_name(MoecCode code);

//===-- Models ----------------------------------------------------------------------------------------------------===//

typedef struct MoecModel MoecModel;

typedef struct MoecModelOptions {
  uint32_t size;
  uint32_t layers;      // only the first so many MoE layers; 0: all
  int32_t environment;  // not 0: what is null below, and how kernels are compiled, is as MOEC_* variables say
  int32_t cacheOnly;    // not 0: never compiles, nor do its sessions (MOEC_STRICT); what is not in the cache is
                        // MOEC_COMPILE_FORBIDDEN
  int32_t plainWeights; // not 0: of a config.json: e4m3 experts are computed in the model's dtype
  int32_t reserved;
  const char *cacheFolder;     // of compiled packages, kernels and calibrations; null: nothing is kept
  const char *compilerLibrary; // libmoec-compiler.so; null: beside libmoec.so
} MoecModelOptions;

// Loads a folder with a Hugging Face config.json, that file, a model description (.mlir) or a package file. `options`
// may be null. Thread-safe; a model may be opened by any number of sessions.
MoecCode moec_model_load(const char *path, const MoecModelOptions *options, MoecModel **model);
// Sessions that were opened from it keep what they need. Null is fine.
void moec_model_release(MoecModel *model);

//===-- Sessions --------------------------------------------------------------------------------------------------===//

typedef struct MoecSession MoecSession;

typedef enum MoecMode { MOEC_AUTO = 0, MOEC_MANUAL, MOEC_OFF, MOEC_STRICT, MOEC_DETERMINISTIC } MoecMode;
typedef enum MoecCalibration {
  MOEC_CALIBRATE_ONCE = 0,
  MOEC_CALIBRATE_ASSUMED,
  MOEC_CALIBRATE_MEASURE
} MoecCalibration;

typedef struct MoecSessionOptions {
  uint32_t size;
  uint32_t maxTokens;      // of a step; 0: 1024
  uint32_t maxSteps;       // in flight at once; 0: 2
  uint32_t threads;        // of one step on a CPU; 0: as many as there are processors
  uint32_t plannedTokens;  // of the step that generation 0 is planned for; 0: 256
  uint32_t maxGraphs;      // on a GPU: captured steps whose graphs exist at once, each with buffers of its own
  uint32_t maxGraphTokens; // of a captured step; 0: 256
  int32_t mode;            // a MoecMode: who may recompile, and when
  int32_t calibration;     // a MoecCalibration
  int32_t failOnNonFinite; // not 0: router logits that are no numbers fail a forward, else they are masked; CPU only
  uint32_t numLayers;      // of `layers`; 0: all of the model's
  uint32_t reserved;
  const uint32_t *layers; // by number
  const char *device;     // null: "cpu"; "cuda" or "cuda:1"; or one of the CPU targets that --target takes
  const char *weights;    // a checkpoint's folder or "random:seed=1"; null: the model's folder
  const char *packBudget; // of packed experts: "40%", "512MiB"; null: all
} MoecSessionOptions;

typedef struct MoecLayer {
  uint32_t size;         // set by the caller
  uint32_t number;       // as the checkpoint counts
  uint32_t hidden;       // H
  uint32_t intermediate; // of an expert
  uint32_t experts;      // E
  uint32_t topK;         // K
  int32_t dtype;         // a MoecDType: of hidden states and output
  uint32_t reserved;
} MoecLayer;

// Counted since the session was opened.
typedef struct MoecSessionStats {
  uint32_t size; // set by the caller
  uint32_t reserved;
  uint64_t liveGeneration;
  int64_t alternateGeneration; // every second step runs on it while two are compared; -1: there is none
  uint64_t forwards;           // on a GPU: as far as their counts have arrived
  uint64_t timedForwards;      // whose time is known: on a CPU all, on a GPU a part
  uint64_t forwardNs;          // summed over those
  uint64_t monitorNs;          // what counting took
  uint64_t spilledPairs, nonFiniteLogits, lostSamples;
} MoecSessionStats;

// Plans, compiles (or finds in the cache), loads and packs generation 0. `options` may be null.
MoecCode moec_session_open(MoecModel *model, const MoecSessionOptions *options, MoecSession **session);
// Stops the loop, too (moec_loop_stop would say whether its trace is whole). All steps must have ended, nobody may be
// inside a call and, on a GPU, graphs that hold steps must be gone. Null is fine.
void moec_session_close(MoecSession *session);
uint32_t moec_session_num_layers(const MoecSession *session);
// The open layer at `index`, 0 to moec_session_num_layers - 1, by ascending number.
MoecCode moec_session_layer(MoecSession *session, uint32_t index, MoecLayer *layer);
MoecCode moec_session_stats(const MoecSession *session, MoecSessionStats *stats);
// Waits until the device is done with all steps. Not for the step path.
void moec_session_finish(MoecSession *session);

//===-- Steps -----------------------------------------------------------------------------------------------------===//

// [rows, columns] elements, row-major without gaps, in the device's memory; on a GPU from a multiple of 16 bytes on.
// Will not grow: what is to come has `reserved`, which is 0.
typedef struct MoecTensor {
  void *data;
  int32_t dtype; // a MoecDType
  int32_t reserved;
  int64_t rows, columns;
} MoecTensor;

typedef struct MoecStepOptions {
  uint32_t size;
  uint32_t tokens;
  int32_t prefill;      // not 0: for observers; the loop tells small steps from large ones by their tokens
  int32_t onGeneration; // not 0: on `generation` instead of the live one; takes a lock. For graphs, see below
  void *stream;         // on a GPU: the CUstream (cudaStream_t) that kernels are queued on
  uint64_t generation;
} MoecStepOptions;

// A step that has begun: in the caller's memory, so that beginning one allocates nothing. Not to be copied. Filled with
// zeros it is a step that has ended.
typedef struct MoecStep {
  uint64_t opaque[12];
} MoecStep;

// A step that is begun while its stream is captured belongs to the graph, with its generation: after a change graphs go
// on with what they were captured on. Who serves with graphs looks at liveGeneration and alternateGeneration
// (MoecSessionStats) now and then, captures a graph anew on a generation that he has none of, and while there are two
// launches theirs in turn, so that the loop can compare them.

// Pins the live generation. Lock-free. Steps may run at once; one step is used by one thread at a time.
// Errors: MOEC_RESOURCE_EXHAUSTED (more tokens than maxTokens, maxSteps in flight; captured: maxGraphs), and the
// driver's.
MoecCode moec_step_begin(MoecSession *session, const MoecStepOptions *options, MoecStep *step);
// Runs a layer. On a CPU returns when `output` is written; on a GPU the stream is queued with it, and all four tensors
// stay where and what they are until that is done. Never compiles, allocates or waits for a compile.
//
// hidden, output  [tokens, H] of the layer's dtype; they must not overlap
// ids             [tokens, K], -1 is padding, no expert twice in a row; null: the layer's router says
// weights         [tokens, K]; null as `ids` is
//
// Errors: MOEC_NOT_FOUND (no such layer), MOEC_INVALID_ARGUMENT (shape, dtype, address; on a CPU ids, too: a GPU, which
// alone sees them, takes one out of range for padding and adds one that comes twice twice; nothing was written),
// MOEC_FAILURE (failOnNonFinite; a launch), MOEC_DEVICE_LOST.
MoecCode moec_step_forward(MoecStep *step, uint32_t layer, const MoecTensor *hidden, const int32_t *ids,
                           const float *weights, const MoecTensor *output);
// The router alone, on a CPU: `ids` and `weights` [tokens, K] are written, best expert first.
MoecCode moec_step_route(MoecStep *step, uint32_t layer, const MoecTensor *hidden, int32_t *ids, float *weights);
// The generation that the step runs on; 0 where it has not begun or has ended.
uint64_t moec_step_generation(const MoecStep *step);
// Of a step that has ended, or never begun (zeros), nothing.
void moec_step_end(MoecStep *step);

//===-- The loop --------------------------------------------------------------------------------------------------===//

typedef struct MoecLoopOptions {
  uint32_t size;
  uint32_t windowSteps; // steps that counts are drained by; 0: 32
  int32_t manual;       // not 0, or MOEC_MANUAL: changes only when moec_loop_request asks
  int32_t reserved;
  const char *trace; // the decision trace's file, for moec-trace; null: none
} MoecLoopOptions;

typedef struct MoecLoopStats {
  uint32_t size; // set by the caller
  uint32_t reserved;
  uint64_t samples, skippedSamples, windows, decisions;
  uint64_t changes; // generations that went live
  uint64_t kept, rolledBack, failedBuilds, droppedTraceLines;
  uint64_t liveGeneration;
  int64_t pendingAgeNs; // since the decision that is being built or measured; 0 when there is none
} MoecLoopStats;

// Watches the session's layers from a thread of its own: decides, builds, swaps, measures, keeps or rolls back.
// `options` may be null. Starting and stopping: not while a step is in flight on a CPU. Errors: MOEC_INVALID_ARGUMENT
// (a loop runs already; the session is MOEC_OFF), MOEC_FAILURE (the trace cannot be written), MOEC_RESOURCE_EXHAUSTED.
MoecCode moec_loop_start(MoecSession *session, const MoecLoopOptions *options);
// Asks for the best change that gains more than the margin. Error of this and the next two: MOEC_NOT_FOUND (no loop
// runs).
MoecCode moec_loop_request(MoecSession *session);
MoecCode moec_loop_stats(const MoecSession *session, MoecLoopStats *stats);
// Cancels a build; a comparison ends with the newer generation live.
// Error: also MOEC_FAILURE (lines of the trace were lost; the loop has stopped all the same).
MoecCode moec_loop_stop(MoecSession *session);

#ifdef __cplusplus
}
#endif

#endif
