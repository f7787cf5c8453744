/* The C API as a C program uses it: Embed.cpp's work, and what goes wrong is a code and a sentence. C99 and nothing
   else.

     embed-c tests/golden/olmoe [TRACE]                                                                          */
#include "runtime/c/moec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void need(MoecCode code) {
  if (code != MOEC_OK) {
    fprintf(stderr, "embed-c: %s: %s\n", moec_code_name(code), moec_last_error());
    exit(1);
  }
}

/* Ends the program unless the call failed in this way, and said so. */
static void expect(MoecCode code, MoecCode wanted, const char *says) {
  if (code != wanted || !strstr(moec_last_error(), says)) {
    fprintf(stderr, "embed-c: %s instead of %s: \"%s\" lacks \"%s\"\n", moec_code_name(code), moec_code_name(wanted),
            moec_last_error(), says);
    exit(1);
  }
}

static void misuse(MoecModel *model, MoecSession *session, const MoecTensor *hidden, const MoecTensor *output) {
  MoecSession *none = NULL;
  MoecSessionOptions options = {0};
  MoecStepOptions tooMany = {.size = sizeof tooMany, .tokens = 1000000};
  MoecStep step = {{0}};
  MoecTensor narrow = *hidden, strange = *hidden;
  MoecLoopStats stats = {0};
  struct {
    MoecStepOptions known;
    uint64_t added;
  } newer = {{.size = sizeof newer, .tokens = 1}, 0};
  uint32_t missing = 12345;
  int32_t ids[1] = {0};

  expect(moec_session_open(model, &options, &none), MOEC_INVALID_ARGUMENT, "MoecSessionOptions.size is 0");
  options.size = sizeof options;
  options.mode = 77;
  expect(moec_session_open(model, &options, &none), MOEC_INVALID_ARGUMENT, "mode is 77");
  options.mode = MOEC_AUTO;
  options.packBudget = "many";
  expect(moec_session_open(model, &options, &none), MOEC_INVALID_ARGUMENT, "many");
  options.packBudget = NULL;
  options.numLayers = 1;
  expect(moec_session_open(model, &options, &none), MOEC_INVALID_ARGUMENT, "layers is null");
  options.layers = &missing;
  options.reserved = 1;
  expect(moec_session_open(model, &options, &none), MOEC_INVALID_ARGUMENT, "newer moec");
  options.reserved = 0;
  expect(moec_session_open(model, &options, &none), MOEC_INVALID_ARGUMENT, "12345");

  expect(moec_step_forward(&step, 0, hidden, NULL, NULL, output), MOEC_INVALID_ARGUMENT, "not begun");
  expect(moec_step_begin(session, &tooMany, &step), MOEC_RESOURCE_EXHAUSTED, "1000000");
  expect(moec_step_forward(&step, 0, hidden, NULL, NULL, output), MOEC_INVALID_ARGUMENT, "not begun");
  need(moec_step_begin(session, &newer.known, &step)); /* what it adds is zero */
  expect(moec_step_forward(&step, missing, hidden, NULL, NULL, output), MOEC_NOT_FOUND, "12345");
  expect(moec_step_forward(&step, 0, hidden, NULL, NULL, hidden), MOEC_INVALID_ARGUMENT, "same memory");
  narrow.columns = 1;
  strange.dtype = 99;
  expect(moec_step_forward(&step, 0, &narrow, NULL, NULL, output), MOEC_INVALID_ARGUMENT, "");
  expect(moec_step_forward(&step, 0, &strange, NULL, NULL, output), MOEC_INVALID_ARGUMENT, "hidden.dtype is 99");
  expect(moec_step_forward(&step, 0, hidden, ids, NULL, output), MOEC_INVALID_ARGUMENT, "come together");
  moec_step_end(&step);
  moec_step_end(&step); /* nothing */
  newer.added = 1;
  expect(moec_step_begin(session, &newer.known, &step), MOEC_INVALID_ARGUMENT, "newer moec");

  expect(moec_loop_stop(session), MOEC_NOT_FOUND, "no loop");
  expect(moec_loop_stats(session, &stats), MOEC_NOT_FOUND, "no loop");
  expect(moec_loop_request(session), MOEC_NOT_FOUND, "no loop");
}

int main(int argc, char **argv) {
  MoecModelOptions load = {.size = sizeof load};
  MoecSessionOptions open = {.size = sizeof open};
  MoecLoopOptions watch = {.size = sizeof watch};
  MoecLoopStats loop = {.size = sizeof loop};
  MoecSessionStats stats = {.size = sizeof stats};
  MoecModel *model = NULL;
  MoecSession *session = NULL;
  MoecLayer layer = {.size = sizeof layer};
  MoecTensor hidden = {0}, output = {0};
  float *values, *results;
  size_t i, count;

  if (argc < 2)
    return 2;
  load.environment = 1;
  expect(moec_model_load("no-such-folder", &load, &model), MOEC_NOT_FOUND, "no-such-folder");
  need(moec_model_load(argv[1], &load, &model));
  open.maxTokens = 256;
  need(moec_session_open(model, &open, &session));
  need(moec_session_layer(session, 0, &layer));
  expect(moec_session_layer(session, moec_session_num_layers(session), &layer), MOEC_NOT_FOUND, "layer index");

  count = (size_t)16 * layer.hidden;
  values = malloc(count * sizeof *values);
  results = malloc(count * sizeof *results);
  for (i = 0; i < count; ++i)
    values[i] = 0.5f;
  hidden.data = values;
  output.data = results;
  hidden.dtype = output.dtype = layer.dtype;
  hidden.rows = output.rows = 16;
  hidden.columns = output.columns = layer.hidden;
  misuse(model, session, &hidden, &output);
  moec_model_release(model); /* the session keeps what it needs */

  watch.trace = argc > 2 ? argv[2] : NULL;
  need(moec_loop_start(session, &watch));
  expect(moec_loop_start(session, &watch), MOEC_INVALID_ARGUMENT, "a loop already");
  for (i = 0; i < 100; ++i) {
    MoecStepOptions begin = {.size = sizeof begin, .tokens = 16};
    MoecStep step;
    need(moec_step_begin(session, &begin, &step));
    need(moec_step_forward(&step, layer.number, &hidden, NULL, NULL, &output));
    moec_step_end(&step);
  }
  need(moec_session_stats(session, &stats));
  need(moec_loop_stats(session, &loop));
  need(moec_loop_request(session)); /* from here on another generation may go live */
  need(moec_loop_stop(session));
  printf("%d forwards on generation %d, output[0] = %.6f\n", (int)stats.forwards, (int)stats.liveGeneration,
         results[0]);
  expect(moec_session_layer(session, 99, &layer), MOEC_NOT_FOUND, "index 99");
  moec_session_close(session);
  expect(MOEC_NOT_FOUND, MOEC_NOT_FOUND, "index 99"); /* closing says nothing */
  free(values);
  free(results);
  return 0;
}
