// The register-tiled GEMM kernel and its epilogues.
#include "compiler/codegen/cpu/Emitter.h"
#include "compiler/codegen/cpu/Kernels.h"

#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/X86Vector/X86VectorDialect.h"
#include "mlir/IR/IRMapping.h"

#include <algorithm>

using namespace mlir;

namespace moec::codegen {
namespace {

/// One tile kernel while it is being built.
class TileKernel {
public:
  TileKernel(Emitter &e, const CpuConfig &config, const TileKernelSpec &spec) : e(e), config(config), spec(spec) {}

  void build(ModuleOp module) {
    auto pointer = LLVM::LLVMPointerType::get(e.b.getContext());
    LLVM::LLVMFuncOp function = beginFunction(
        e, module, symbolOf(spec), {pointer, pointer, pointer, pointer, pointer, e.i64(), e.i64(), pointer, e.i64()});
    Block &entry = function.getBody().front();
    a = entry.getArgument(0), weights = entry.getArgument(1), c = entry.getArgument(2);
    rowToken = entry.getArgument(3), rowWeight = entry.getArgument(4);
    cStride = entry.getArgument(5);
    Value panels = entry.getArgument(6), zero = e.constant(0);
    Value cursor = entry.getArgument(7);
    nextStepBytes = entry.getArgument(8);
    uint32_t wide = panelsPerIteration(spec.rows, config);
    Value wideEnd = zero;
    if (wide > 1) {
      Value remainder = arith::RemUIOp::create(e.b, panels, e.constant(wide));
      wideEnd = arith::SubIOp::create(e.b, panels, remainder);
      cursor = panelLoop(zero, wideEnd, wide, cursor);
    }
    panelLoop(wideEnd, panels, 1, cursor);
    finishFunction(e);
  }

private:
  /// Weights are bf16: a step is a pair of K.
  bool pairs() const { return config.compute == DType::BF16; }
  /// Rows are bf16 too: a step is one dot product of pairs.
  bool dots() const { return config.rowDType() == DType::BF16; }
  uint32_t steps() const { return pairs() ? (spec.k + 1) / 2 : spec.k; }
  int64_t rowBytes() const { return int64_t{paddedStride(spec.k, config.rowDType())} * byteSize(config.rowDType()); }
  int64_t stepBytes() const { return pairs() && !dots() ? 8 : 4; } // of a row
  int64_t vectorBytes() const { return int64_t{e.lanes} * 4; }
  int64_t bytesOfPanel() const {
    return static_cast<int64_t>(panelBytes(spec.k, e.lanes, config.compute, spec.biased));
  }

  /// Runs panels [from, to), `numPanels` side by side, and returns where the prefetch cursor ends up.
  Value panelLoop(Value from, Value to, uint32_t numPanels, Value cursor) {
    auto loop = scf::ForOp::create(e.b, from, to, e.constant(numPanels), cursor);
    OpBuilder::InsertionGuard guard(e.b);
    e.b.setInsertionPointToStart(loop.getBody());
    Value panel = loop.getInductionVar();
    cursor = loop.getRegionIterArgs().front();
    SmallVector<Value> sums = sumOverK(panel, numPanels, cursor);
    for (uint32_t index = 0; index < numPanels; ++index) {
      if (spec.weighted)
        weighRows(index, sums);
      if (spec.biased)
        addBias(panel, index, sums);
      for (uint32_t row = 0; row < spec.rows; ++row)
        epilogue(panel, index, row, sums[sumIndex(index, row, 0)], sums[sumIndex(index, row, 1)]);
    }
    scf::YieldOp::create(e.b, cursor);
    return loop.getResult(0);
  }

  size_t sumIndex(uint32_t panel, uint32_t row, uint32_t half) const { return (panel * spec.rows + row) * 2 + half; }

  /// All K steps of `numPanels` panels; the sums in `sumIndex` order. Moves the prefetch cursor on.
  SmallVector<Value> sumOverK(Value panel, uint32_t numPanels, Value &cursor) {
    Value panelStart = e.address(weights, e.mul(panel, e.constant(bytesOfPanel())));
    SmallVector<Value> sums(numPanels * spec.rows * 2, e.zeros());
    // Small tiles do little per step: several steps an iteration keep the loop's own cost down.
    uint32_t unroll = std::max<uint32_t>(1, 16 / static_cast<uint32_t>(sums.size()));
    uint32_t main = steps() / unroll * unroll;
    if (main > 0) {
      SmallVector<Value> carried(sums);
      carried.push_back(cursor);
      auto loop = scf::ForOp::create(e.b, e.constant(0), e.constant(main), e.constant(unroll), carried);
      OpBuilder::InsertionGuard guard(e.b);
      e.b.setInsertionPointToStart(loop.getBody());
      SmallVector<Value> inner(loop.getRegionIterArgs());
      Value inside = inner.pop_back_val();
      if (spec.rows >= kCpuPrefetchRows) {
        prefetch(inside, unroll * numPanels);
        inside = e.address(inside, e.mul(nextStepBytes, e.constant(unroll * numPanels)));
      }
      for (uint32_t step = 0; step < unroll; ++step)
        addStep(panelStart, loop.getInductionVar(), step, numPanels, inner);
      inner.push_back(inside);
      scf::YieldOp::create(e.b, inner);
      sums.assign(loop.getResults().begin(), loop.getResults().end());
      cursor = sums.pop_back_val();
    }
    for (uint32_t step = main; step < steps(); ++step)
      addStep(panelStart, e.constant(step), 0, numPanels, sums);
    return sums;
  }

  /// Asks for as many bytes from `from` on as `panelSteps` steps of one panel read.
  void prefetch(Value from, uint32_t panelSteps) {
    constexpr int64_t lineBytes = 64;
    for (int64_t offset = 0; offset < panelSteps * 2 * vectorBytes(); offset += lineBytes)
      LLVM::Prefetch::create(e.b, e.address(from, {}, offset), /*rw=*/0, /*hint: second-level cache=*/2,
                             /*cache: data=*/1);
  }

  /// One K step (a pair in bf16) into every sum.
  void addStep(Value panelStart, Value step, uint32_t offset, uint32_t numPanels, SmallVector<Value> &sums) {
    Value aBytes = e.mul(step, e.constant(stepBytes())), bBytes = e.mul(step, e.constant(2 * vectorBytes()));
    SmallVector<Value> b;
    for (uint32_t panel = 0; panel < numPanels; ++panel)
      for (uint32_t half = 0; half < 2; ++half)
        b.push_back(
            e.load(pairs() ? Type(e.i32s()) : Type(e.f32s()),
                   e.address(panelStart, bBytes, panel * bytesOfPanel() + (2 * offset + half) * vectorBytes())));
    if (!pairs() || dots())
      return addProducts(aBytes, offset * 4, b, sums);
    // Even K first, then odd: two widened vectors a panel are live at a time, not four.
    for (bool odd : {false, true}) {
      SmallVector<Value> widened;
      for (Value bits : b)
        widened.push_back(widen(bits, odd));
      addProducts(aBytes, offset * 8 + (odd ? 4 : 0), widened, sums);
    }
  }

  /// Adds row entry times weights to the sums of every row; the entries are `aBytes + constantBytes` into their rows.
  void addProducts(Value aBytes, int64_t constantBytes, ArrayRef<Value> b, SmallVector<Value> &sums) {
    for (uint32_t row = 0; row < spec.rows; ++row) {
      Value entry = e.load(dots() ? Type(e.b.getI32Type()) : Type(e.b.getF32Type()),
                           e.address(a, aBytes, row * rowBytes() + constantBytes));
      for (uint32_t index = 0; index < b.size(); ++index) {
        Value &sum = sums[sumIndex(index / 2, row, index % 2)];
        sum = dots() ? dot(sum, entry, b[index])
                     : vector::FMAOp::create(e.b, vector::BroadcastOp::create(e.b, e.f32s(), entry), b[index], sum)
                           .getResult();
      }
    }
  }

  Value dot(Value sum, Value pairOfEntries, Value b) {
    VectorType type = e.bf16s(2 * e.lanes);
    Value broadcast = vector::BroadcastOp::create(e.b, e.i32s(), pairOfEntries);
    return x86vector::DotBF16Op::create(e.b, e.f32s(), sum, vector::BitCastOp::create(e.b, type, broadcast),
                                        vector::BitCastOp::create(e.b, type, b));
  }

  /// A bf16 is the upper half of its f32: the even (low) or odd (high) entry of each pair, as f32.
  Value widen(Value pairsOfBf16, bool odd) {
    auto splat = [&](int32_t value) {
      return arith::ConstantOp::create(e.b, DenseElementsAttr::get(e.i32s(), value)).getResult();
    };
    Value bits = odd ? arith::AndIOp::create(e.b, pairsOfBf16, splat(static_cast<int32_t>(0xffff0000))).getResult()
                     : arith::ShLIOp::create(e.b, pairsOfBf16, splat(16)).getResult();
    return vector::BitCastOp::create(e.b, e.f32s(), bits);
  }

  Value weightOf(uint32_t row) {
    return vector::BroadcastOp::create(e.b, e.f32s(), e.load(e.b.getF32Type(), e.address(rowWeight, {}, row * 4)));
  }

  /// Multiplies the sums of the panel at `index` by their rows' weights.
  void weighRows(uint32_t index, SmallVector<Value> &sums) {
    for (uint32_t row = 0; row < spec.rows; ++row) {
      Value weight = weightOf(row);
      for (uint32_t half = 0; half < 2; ++half) {
        Value &sum = sums[sumIndex(index, row, half)];
        sum = arith::MulFOp::create(e.b, sum, weight);
      }
    }
  }

  /// Adds the biases at the end of panel `panel + index` to its sums.
  void addBias(Value panel, uint32_t index, SmallVector<Value> &sums) {
    Value panelStart = e.address(weights, e.mul(panel, e.constant(bytesOfPanel())));
    for (uint32_t half = 0; half < 2; ++half) {
      Value bias =
          e.load(e.f32s(), e.address(panelStart, {}, (index + 1) * bytesOfPanel() - (2 - half) * vectorBytes()));
      for (uint32_t row = 0; row < spec.rows; ++row) {
        Value &sum = sums[sumIndex(index, row, half)];
        sum = arith::AddFOp::create(e.b, sum, bias);
      }
    }
  }

  void epilogue(Value panel, uint32_t index, uint32_t row, Value first, Value second) {
    switch (spec.role) {
    case CpuRole::GateUp: return storeActivated(panel, index, row, first, second);
    case CpuRole::Router: return storeSums(panel, index, row, first, second);
    case CpuRole::Down: return addToTokens(panel, index, row, first, second);
    }
  }

  /// Where row `row` of `c` keeps the columns of panel `panel + index`.
  Value outputOf(Value rowStart, Value panel, uint32_t index, int64_t panelColumnBytes) {
    return e.address(rowStart, e.mul(panel, e.constant(panelColumnBytes)), index * panelColumnBytes);
  }
  Value rowOf(Value row) { return e.address(c, e.mul(row, cStride)); }

  void storeActivated(Value panel, uint32_t index, uint32_t row, Value gate, Value up) {
    IRMapping mapping;
    Block &block = spec.activation->front();
    mapping.map(block.getArgument(0), gate);
    mapping.map(block.getArgument(1), up);
    for (Operation &op : block.without_terminator())
      vectorise(op, mapping);
    Value activated = mapping.lookup(block.getTerminator()->getOperand(0));
    if (dots())
      activated = arith::TruncFOp::create(e.b, e.bf16s(e.lanes), activated);
    e.store(activated, outputOf(rowOf(e.constant(row)), panel, index, int64_t{e.lanes} * byteSize(config.rowDType())));
  }

  /// Clones a scalar op of the activation with vectors in place of scalars.
  void vectorise(Operation &op, IRMapping &mapping) {
    OperationState state(e.b.getLoc(), op.getName());
    for (Value operand : op.getOperands())
      state.operands.push_back(mapping.lookup(operand));
    for (Type type : op.getResultTypes())
      state.types.push_back(VectorType::get({e.lanes}, type));
    state.attributes = op.getDiscardableAttrDictionary();
    state.propertiesAttr = op.getPropertiesAsAttribute();
    if (auto constant = dyn_cast<arith::ConstantOp>(op)) {
      auto splat = DenseElementsAttr::get(cast<ShapedType>(state.types[0]), constant.getValue());
      mapping.map(op.getResult(0), arith::ConstantOp::create(e.b, splat).getResult());
      return;
    }
    mapping.map(op.getResult(0), e.b.create(state)->getResult(0));
  }

  void storeSums(Value panel, uint32_t index, uint32_t row, Value first, Value second) {
    Value to = outputOf(rowOf(e.constant(row)), panel, index, 2 * vectorBytes());
    e.store(first, to);
    e.store(second, e.address(to, {}, vectorBytes()));
  }

  void addToTokens(Value panel, uint32_t index, uint32_t row, Value first, Value second) {
    Value token = e.load(e.b.getI32Type(), e.address(rowToken, {}, row * 4));
    Value weight = weightOf(row);
    Value to = outputOf(rowOf(arith::ExtSIOp::create(e.b, e.i64(), token)), panel, index, 2 * vectorBytes());
    for (auto [half, sum] : llvm::enumerate(ArrayRef<Value>{first, second})) {
      Value at = e.address(to, {}, half * vectorBytes());
      e.store(vector::FMAOp::create(e.b, sum, weight, e.load(e.f32s(), at)), at);
    }
  }

  Emitter &e;
  const CpuConfig &config;
  const TileKernelSpec &spec;
  Value a, weights, c, rowToken, rowWeight, cStride, nextStepBytes;
};

} // namespace

void buildTileKernel(Emitter &emitter, ModuleOp module, const CpuConfig &config, const TileKernelSpec &spec) {
  TileKernel(emitter, config, spec).build(module);
}

} // namespace moec::codegen
