// The reference against numbers worked out by hand.
#include "ir/reference/Ops.h"
#include "tests/unit/Catch.h"

#include <cmath>
#include <limits>

using namespace moec;
using namespace moec::reference;

namespace {

constexpr double notANumber = std::numeric_limits<double>::quiet_NaN();
constexpr double inf = std::numeric_limits<double>::infinity();

double product(double gate, double up) { return gate * up; }

void checkClose(const std::vector<double> &have, const std::vector<double> &want) {
  REQUIRE(have.size() == want.size());
  for (size_t index = 0; index < have.size(); ++index) {
    CAPTURE(index);
    CHECK(have[index] == Approx(want[index]).epsilon(1e-14).margin(1e-15));
  }
}

/// An FFN of H = 2, I = 1 for two experts: expert 0 gives (x0 * x1, 0), expert 1 gives (0, 2 x0 * 2
/// x1).
struct TwoExperts {
  Tensor gate{{2, 1, 2}, {1, 0, 2, 0}};
  Tensor up{{2, 1, 2}, {0, 1, 0, 2}};
  Tensor down{{2, 2, 1}, {1, 0, 0, 1}};
  FfnWeights weights() const { return {gate, up, down}; }
};

} // namespace

TEST_CASE("the router multiplies, sums and adds the bias", "[compiler][reference]") {
  Tensor hidden{{2, 2}, {1, 2, 3, 4}}, weight{{3, 2}, {1, 0, 0, 1, 1, 1}}, bias{{3}, {10, 20, 30}};
  CHECK(router(hidden, weight, nullptr)->values == std::vector<double>{1, 2, 3, 3, 4, 7});
  CHECK(router(hidden, weight, &bias)->values == std::vector<double>{11, 22, 33, 13, 24, 37});
}

TEST_CASE("softmax divides by the row's sum and does not overflow", "[compiler][reference]") {
  // e^0 : e^ln 3 = 1 : 3. The second row is the first, shifted by 1000.
  Tensor logits{{2, 2}, {0, std::log(3.0), 1000, 1000 + std::log(3.0)}};
  std::vector<double> scores = score(Scoring::Softmax, logits)->values;
  CHECK(scores[0] == Approx(0.25).epsilon(1e-14));
  CHECK(scores[1] == Approx(0.75).epsilon(1e-14));
  CHECK(scores[2] == Approx(0.25).epsilon(1e-12)); // 1000 + ln 3 is rounded
}

TEST_CASE("sigmoid looks at each entry alone", "[compiler][reference]") {
  // 1 / (1 + e^-ln 3) = 3 / 4.
  checkClose(score(Scoring::Sigmoid, {{1, 3}, {0, std::log(3.0), -std::log(3.0)}})->values, {0.5, 0.75, 0.25});
}

TEST_CASE("top-k takes the best first and the lower of equal experts", "[compiler][reference]") {
  Result<Chosen> chosen = topK({{2, 4}, {1, 3, 3, 2, 5, 5, 5, 5}}, nullptr, {.k = 3});
  CHECK(chosen->ids.values == std::vector<int32_t>{1, 2, 3, 0, 1, 2});
  CHECK(chosen->weights.values == std::vector<double>{3, 3, 2, 5, 5, 5});
}

TEST_CASE("the correction steers the choice and leaves the weights", "[compiler][reference]") {
  Tensor correction{{3}, {0, -1, 1}}; // 0.5, -0.2, 1.1
  Result<Chosen> chosen = topK({{1, 3}, {0.5, 0.8, 0.1}}, &correction, {.k = 2});
  CHECK(chosen->ids.values == std::vector<int32_t>{2, 0});
  CHECK(chosen->weights.values == std::vector<double>{0.1, 0.5});
}

TEST_CASE("only experts of the best groups are chosen", "[compiler][reference]") {
  // Groups (9, 0), (5, 5), (6, 1): their two best sum to 9, 10, 7, so groups 1 and 0 are picked,
  // not the one with the 6.
  Tensor scores{{1, 6}, {9, 0, 5, 5, 6, 1}};
  TopKSpec spec{.k = 3, .groups = 3, .groupsPicked = 2, .groupTop = 2};
  CHECK(topK(scores, nullptr, spec)->ids.values == std::vector<int32_t>{0, 2, 3});
  // By their single best, 9, 5 and 6, groups 0 and 2 are picked.
  spec.groupTop = 1;
  CHECK(topK(scores, nullptr, spec)->ids.values == std::vector<int32_t>{0, 4, 5});
  // Equal groups: the lower ones.
  CHECK(topK(Tensor::filled({1, 6}, 1), nullptr, spec)->ids.values == std::vector<int32_t>{0, 1, 2});
}

TEST_CASE("normalize divides by the sum plus epsilon", "[compiler][reference]") {
  CHECK(normalize({{1, 2}, {1, 3}}, 0)->values == std::vector<double>{0.25, 0.75});
  CHECK(normalize({{1, 2}, {1, 3}}, 4)->values == std::vector<double>{0.125, 0.375});
  // Nothing to tell them apart.
  CHECK(normalize({{1, 2}, {0, 0}}, 0)->values == std::vector<double>{0.5, 0.5});
}

TEST_CASE("scale multiplies", "[compiler][reference]") {
  CHECK(scale({{1, 2}, {1, -3}}, 2.5)->values == std::vector<double>{2.5, -7.5});
}

TEST_CASE("pairs are counted without padding", "[compiler][reference]") {
  Result<IdTensor> counts = countPairs({{3, 2}, {0, 2, 2, -1, -1, -1}}, 4);
  CHECK(*counts == IdTensor{{4}, {1, 0, 2, 0}});
}

TEST_CASE("a logit that is not finite is chosen last and weighs nothing", "[compiler][reference]") {
  for (double bad : {notANumber, inf, -inf})
    for (auto before : {std::optional<Scoring>(), std::optional(Scoring::Softmax), std::optional(Scoring::Sigmoid)}) {
      RouteSpec spec{.topK = {.k = 3}, .before = before, .after = {}, .epsilon = 0.0, .scale = 2};
      Tensor correction{{3}, {100, 0, 0}};
      Result<Chosen> chosen = routeLogits({{1, 3}, {bad, 1, 1}}, &correction, spec);
      // The other two are equal, so 1 / 2 each, times 2.
      CHECK(chosen->ids.values == std::vector<int32_t>{1, 2, 0});
      checkClose(chosen->weights.values, {1, 1, 0});
    }
}

TEST_CASE("a token without a finite logit goes to the first experts alike", "[compiler][reference]") {
  Tensor correction{{4}, {0, 0, 0, 100}};
  for (auto before : {std::optional<Scoring>(), std::optional(Scoring::Softmax), std::optional(Scoring::Sigmoid)})
    for (auto epsilon : {std::optional<double>(), std::optional(0.0)}) {
      RouteSpec spec{.topK = {.k = 2, .groups = 2}, .before = before, .after = {}, .epsilon = epsilon, .scale = 3};
      Result<Chosen> chosen = routeLogits({{1, 4}, {notANumber, inf, -inf, notANumber}}, &correction, spec);
      CHECK(chosen->ids.values == std::vector<int32_t>{0, 1});
      CHECK(chosen->weights.values == std::vector<double>{1.5, 1.5}); // 3 / K
    }
}

TEST_CASE("route is its six steps in order", "[compiler][reference]") {
  // Logits 0, ln 3, ln 4: softmax 1/8, 3/8, 4/8; best two 4/8, 3/8; softmax of these would not be
  // 4/7, 3/7.
  Tensor hidden{{1, 1}, {1}}, weight{{3, 1}, {0, std::log(3.0), 0}}, bias{{3}, {0, 0, std::log(4.0)}};
  RouteSpec spec{.topK = {.k = 2}, .before = Scoring::Softmax, .after = {}, .epsilon = 0.125, .scale = 2};
  Result<Chosen> chosen = route(hidden, weight, &bias, nullptr, spec);
  CHECK(chosen->ids.values == std::vector<int32_t>{2, 1});
  checkClose(chosen->weights.values, {1, 0.75}); // 2 * (4/8) / (7/8 + 1/8), 2 * (3/8) / 1
  // Sigmoid of the chosen logits alone: 4 / 5 and 3 / 4.
  spec = {.topK = {.k = 2}, .before = {}, .after = Scoring::Sigmoid, .epsilon = {}, .scale = 1};
  checkClose(route(hidden, weight, &bias, nullptr, spec)->weights.values, {0.8, 0.75});
}

TEST_CASE("dispatch fills each expert's rows in token order", "[compiler][reference]") {
  Tensor tokens{{3, 1}, {10, 20, 30}};
  Result<Dispatched> result = dispatch(tokens, {{3, 2}, {1, 0, 1, -1, 0, 1}}, nullptr, {.experts = 3, .capacity = {}});
  // Expert 0: tokens 0, 2; expert 1: tokens 0, 1, 2; expert 2: none.
  CHECK(result->buffer == Tensor{{3, 3, 1}, {10, 30, 0, 10, 20, 30, 0, 0, 0}});
  CHECK(result->slot == IdTensor{{3, 2}, {0, 0, 1, -1, 1, 2}});
}

TEST_CASE("a full expert drops its latest pairs", "[compiler][reference]") {
  Tensor tokens{{4, 1}, {1, 2, 3, 4}};
  Result<Dispatched> result = dispatch(tokens, {{4, 1}, {0, 1, 0, 0}}, nullptr, {.experts = 2, .capacity = 2});
  CHECK(result->buffer == Tensor{{2, 2, 1}, {1, 3, 2, 0}});
  CHECK(result->slot.values == std::vector<int32_t>{0, 0, 1, -1});
}

TEST_CASE("a full expert drops its lowest scores, the later of equals", "[compiler][reference]") {
  Tensor tokens{{4, 1}, {1, 2, 3, 4}}, weights{{4, 1}, {0.5, 0.1, 0.5, 0.9}};
  DispatchSpec spec{.experts = 1, .capacity = 2, .drop = Drop::Score};
  // 0.9 and the first 0.5 stay, in token order.
  Result<Dispatched> result = dispatch(tokens, {{4, 1}, {0, 0, 0, 0}}, &weights, spec);
  CHECK(result->buffer.values == std::vector<double>{1, 4});
  CHECK(result->slot.values == std::vector<int32_t>{0, -1, -1, 1});
  weights.values = {notANumber, 0.1, notANumber, 0.0}; // NaN is below every weight
  CHECK(dispatch(tokens, {{4, 1}, {0, 0, 0, 0}}, &weights, spec)->slot.values == std::vector<int32_t>{-1, 0, -1, 1});
}

TEST_CASE("each expert's network runs over its rows", "[compiler][reference]") {
  TwoExperts ffn;
  // Expert 0 on (3, 5): 15; expert 1 on (3, 5): 6 * 10 = 60.
  Result<Tensor> result = expertFfn({{2, 1, 2}, {3, 5, 3, 5}}, ffn.weights(), product);
  CHECK(*result == Tensor{{2, 1, 2}, {15, 0, 0, 60}});
}

TEST_CASE("biases are added to each product of their expert, and weighted with it", "[compiler][reference]") {
  TwoExperts ffn;
  Tensor gateBias{{2, 1}, {1, -6}}, upBias{{2, 1}, {-5, 2}}, downBias{{2, 2}, {100, 200, 300, 400}};
  FfnWeights weights = ffn.weights();
  weights.gateBias = &gateBias;
  weights.upBias = &upBias;
  weights.downBias = &downBias;
  // Expert 0 on (3, 5): (3 + 1) * (5 - 5) = 0; on (1, 2): 2 * -3 = -6. Expert 1 on (3, 5): (6 - 6) * (10 + 2) = 0.
  Result<Tensor> result = expertFfn({{2, 2, 2}, {3, 5, 1, 2, 3, 5, 0, 0}}, weights, product);
  // A row of zeros: -6 * 2 = -12.
  CHECK(*result == Tensor{{2, 2, 2}, {100, 200, 94, 200, 300, 400, 300, 388}});
  Result<GroupedResult> grouped =
      groupedFfn({{1, 2}, {1, 2}}, {{1, 2}, {0, -1}}, {{1, 2}, {0.5, 9}}, weights, nullptr, product);
  CHECK(grouped->output.values == std::vector<double>{47, 100});
  Tensor wide{{2, 2}, {}};
  weights.upBias = &wide;
  CHECK(expertFfn({{2, 1, 2}, {3, 5, 3, 5}}, weights, product).status().message() ==
        "up_bias is [2, 2], expected [2, 1]");
}

TEST_CASE("a weight on the input is inside the activation, and a bias outside of it", "[compiler][reference]") {
  TwoExperts ffn;
  Tensor gateBias{{2, 1}, {1, -6}}, upBias{{2, 1}, {-5, 2}}, downBias{{2, 2}, {100, 200, 300, 400}};
  FfnWeights weights = ffn.weights();
  weights.gateBias = &gateBias;
  weights.upBias = &upBias;
  weights.downBias = &downBias;
  Tensor hidden{{2, 2}, {3, 5, 1, 1}}, routed{{2, 2}, {2, 0.5, -inf, 9}};
  IdTensor ids{{2, 2}, {0, 1, 1, -1}};
  // Expert 0 on (6, 10): (6 + 1) * (10 - 5) = 35. Expert 1 on (1.5, 2.5): (3 - 6) * (5 + 2) = -21; its gate and up are
  // twice its input's. A masked expert takes zeros: (0 - 6) * (0 + 2) = -12.
  Result<GroupedResult> grouped = groupedFfn(hidden, ids, routed, weights, nullptr, product, WeightOn::Input);
  CHECK(grouped->output.values == std::vector<double>{100 + 35 + 300, 200 + 400 - 21, 300, 400 - 12});
  Result<Dispatched> dispatched = dispatch(hidden, ids, &routed, {.experts = 2, .weightOnInput = true});
  CHECK(dispatched->buffer == Tensor{{2, 2, 2}, {6, 10, 0, 0, 1.5, 2.5, 0, 0}});
  Result<Tensor> output = expertFfn(dispatched->buffer, weights, product);
  CHECK(combine(*output, ids, dispatched->slot, nullptr, nullptr)->values == grouped->output.values);
}

TEST_CASE("the shared network is scaled by its router's sigmoid", "[compiler][reference]") {
  Tensor gate{{1, 2}, {1, 0}}, up{{1, 2}, {0, 1}}, down{{2, 1}, {1, 2}};
  Tensor hidden{{1, 2}, {3, 5}}, router{{1, 2}, {std::log(3.0) / 3, 0}};
  CHECK(sharedFfn(hidden, {gate, up, down}, nullptr, product)->values == std::vector<double>{15, 30});
  // sigmoid(3 * ln 3 / 3) = 3 / 4.
  checkClose(sharedFfn(hidden, {gate, up, down}, &router, product)->values, {11.25, 22.5});
}

TEST_CASE("combine sums the weighted rows of pairs with a slot", "[compiler][reference]") {
  Tensor expertOutput{{2, 2, 1}, {1, 2, 10, 20}};
  IdTensor ids{{3, 2}, {0, 1, 1, -1, 0, 1}}, slot{{3, 2}, {0, 1, 0, -1, 1, -1}};
  Tensor weights{{3, 2}, {2, 0.5, 3, 7, 4, 9}}, init{{3, 1}, {100, 200, 300}};
  // Token 0: 2 * 1 + 0.5 * 20; token 1: 3 * 10; token 2: 4 * 2, its second pair was dropped.
  CHECK(combine(expertOutput, ids, slot, &weights, nullptr)->values == std::vector<double>{12, 30, 8});
  CHECK(combine(expertOutput, ids, slot, &weights, &init)->values == std::vector<double>{112, 230, 308});
}

TEST_CASE("the grouped network is dispatch, experts and combine", "[compiler][reference]") {
  TwoExperts ffn;
  Tensor hidden{{2, 2}, {3, 5, 1, 1}}, weights{{2, 2}, {2, 0.5, 1, 9}}, init{{2, 2}, {1, 1, 1, 1}};
  IdTensor ids{{2, 2}, {0, 1, 1, -1}};
  // Token 0: 2 * (15, 0) + 0.5 * (0, 60); token 1: (0, 4); and 1 everywhere.
  Result<GroupedResult> result = groupedFfn(hidden, ids, weights, ffn.weights(), &init, product);
  CHECK(result->output.values == std::vector<double>{31, 31, 1, 5});
  CHECK(result->counts.values == std::vector<int32_t>{1, 2});
  weights.values = {2, -inf, 1, 9}; // a masked expert weighs nothing
  CHECK(groupedFfn(hidden, ids, weights, ffn.weights(), nullptr, product)->output.values ==
        std::vector<double>{30, 0, 0, 4});
}

TEST_CASE("no tokens give no rows", "[compiler][reference]") {
  TwoExperts ffn;
  Tensor none{{0, 2}, {}};
  IdTensor noIds{{0, 1}, {}};
  CHECK(dispatch(none, noIds, nullptr, {.experts = 2, .capacity = {}})->buffer.shape == Shape{2, 0, 2});
  CHECK(groupedFfn(none, noIds, {{0, 1}, {}}, ffn.weights(), nullptr, product)->output.shape == Shape{0, 2});
  CHECK(topK({{0, 4}, {}}, nullptr, {.k = 2})->ids.shape == Shape{0, 2});
}

TEST_CASE("a wrong operand is an error that names it", "[compiler][reference]") {
  Tensor hidden{{1, 2}, {1, 2}}, weight{{3, 2}, {1, 0, 0, 1, 1, 1}};
  CHECK(router(hidden, {{3, 3}, {}}, nullptr).status().message() == "weight is [3, 3], expected [?, 2]");
  CHECK(router({{1, 2}, {1}}, weight, nullptr).status().message() == "hidden is [1, 2] but holds 1 values");
  CHECK(topK({{1, 4}, {1, 2, 3, 4}}, nullptr, {.k = 5}).status().message() == "k = 5 is not in 1..4");
  CHECK(topK({{1, 4}, {1, 2, 3, 4}}, nullptr, {.k = 1, .groups = 3}).status().message() ==
        "3 groups do not divide 4 experts");
  CHECK(countPairs({{1, 2}, {0, 4}}, 4).status().message() == "ids[0, 1] is 4, expected -1 or one of 4 experts");
  CHECK(
      dispatch(hidden, {{1, 1}, {0}}, nullptr, {.experts = 1, .capacity = 1, .drop = Drop::Score}).status().message() ==
      "dropping by score needs weights");
  CHECK(dispatch(hidden, {{1, 1}, {0}}, nullptr, {.experts = 1, .weightOnInput = true}).status().message() ==
        "weights on the experts' input are missing");
  CHECK(combine({{1, 1, 1}, {5}}, {{1, 1}, {0}}, {{1, 1}, {1}}, nullptr, nullptr).status().message() ==
        "slot[0, 0] is 1 of 1 rows, for expert 0");
}
