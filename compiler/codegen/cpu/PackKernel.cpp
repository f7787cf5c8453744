// The kernel that turns two row-major operands into one panel: a register transpose of lanes x lanes words.
#include "compiler/codegen/cpu/Kernels.h"

using namespace mlir;

namespace moec::codegen {
namespace {

class PackKernel {
public:
  PackKernel(Emitter &e, const CpuConfig &config, const PackKernelSpec &spec) : e(e), config(config), spec(spec) {}

  void build(ModuleOp module) {
    auto pointer = LLVM::LLVMPointerType::get(e.b.getContext());
    LLVM::LLVMFuncOp function = beginFunction(e, module, symbolOf(spec), {pointer, pointer, e.i64(), pointer});
    Block &entry = function.getBody().front();
    rowBytes = entry.getArgument(2), panel = entry.getArgument(3);
    uint32_t words = config.compute == DType::BF16 ? (spec.k + 1) / 2 : spec.k; // 4-byte words of a row
    uint32_t main = words / e.lanes * e.lanes;
    for (uint32_t half = 0; half < 2; ++half) {
      Value from = entry.getArgument(half);
      if (main > 0) {
        auto loop = scf::ForOp::create(e.b, e.constant(0), e.constant(main), e.constant(e.lanes));
        OpBuilder::InsertionGuard guard(e.b);
        e.b.setInsertionPointToStart(loop.getBody());
        transposeBlock(from, loop.getInductionVar(), half, e.lanes);
      }
      if (main < words)
        transposeBlock(from, e.constant(main), half, words - main);
    }
    finishFunction(e);
  }

private:
  /// Words [word, word + count) of all rows into the panel; `count` is at most `lanes`.
  void transposeBlock(Value from, Value word, uint32_t half, uint32_t count) {
    SmallVector<Value> rows;
    for (uint32_t row = 0; row < e.lanes; ++row) {
      Value start = e.address(from, e.mul(e.constant(row), rowBytes));
      rows.push_back(loadWords(e.address(start, e.mul(word, e.constant(4))), count));
    }
    rows = transpose(rows);
    Value to = e.address(panel, e.mul(word, e.constant(int64_t{e.lanes} * 8)), half * int64_t{e.lanes} * 4);
    for (uint32_t index = 0; index < count; ++index)
      e.store(rows[index], e.address(to, {}, int64_t{index} * e.lanes * 8));
  }

  Value loadWords(Value from, uint32_t count) {
    if (count == e.lanes)
      return LLVM::LoadOp::create(e.b, e.f32s(), from, /*alignment=*/1);
    SmallVector<bool> mask(e.lanes, false);
    std::fill_n(mask.begin(), count, true);
    auto maskType = VectorType::get({e.lanes}, e.b.getI1Type());
    Value lanesToLoad = arith::ConstantOp::create(e.b, DenseElementsAttr::get(maskType, mask));
    return LLVM::MaskedLoadOp::create(e.b, e.f32s(), from, lanesToLoad, e.zeros(), e.b.getI32IntegerAttr(1),
                                      UnitAttr());
  }

  /// log2(lanes) rounds, each interleaving row i with row i + lanes / 2: the perfect shuffle that transposes a square.
  SmallVector<Value> transpose(SmallVector<Value> rows) {
    SmallVector<int64_t> low, high;
    for (int64_t lane = 0; lane < e.lanes / 2; ++lane) {
      low.append({lane, lane + e.lanes});
      high.append({lane + e.lanes / 2, lane + e.lanes / 2 + e.lanes});
    }
    for (uint32_t round = 1; round < e.lanes; round *= 2) {
      SmallVector<Value> next;
      for (uint32_t row = 0; row < e.lanes / 2; ++row)
        for (ArrayRef<int64_t> pattern : {ArrayRef<int64_t>(low), ArrayRef<int64_t>(high)})
          next.push_back(vector::ShuffleOp::create(e.b, rows[row], rows[row + e.lanes / 2], pattern));
      rows = next;
    }
    return rows;
  }

  Emitter &e;
  const CpuConfig &config;
  const PackKernelSpec &spec;
  Value rowBytes, panel;
};

} // namespace

void buildPackKernel(Emitter &emitter, ModuleOp module, const CpuConfig &config, const PackKernelSpec &spec) {
  PackKernel(emitter, config, spec).build(module);
}

} // namespace moec::codegen
