// What `quantization_config` says of a model's experts.
#pragma once

#include "compiler/core/Json.h"
#include "compiler/import/ModelSpec.h"

namespace moec::importer {

/// Fills in the layers whose checkpoint holds routed and shared experts in e4m3 with an f32 scale for each 128 by 128
/// elements: `quant_method` "fp8", `weight_block_size` [128, 128], `activation_scheme` "dynamic" or absent, `fmt`
/// "e4m3" or absent. A part is left out where `modules_to_not_convert` or `ignored_layers` names it, something around
/// it or one matrix in it; an entry that is more than names and `*` between dots leaves out all. Other methods are none
/// of this file's business: such weights are read as the numbers they stand for (runtime/weights/QuantisedReader.h), as
/// are those of layers with expert biases or weights on inputs, for which there are no e4m3 kernels.
///
/// Needs shape, names and layers. Errors: a key above of the wrong type, where the method is "fp8".
void readBlockE4M3(const JsonValue &config, ModelSpec &spec);

} // namespace moec::importer
