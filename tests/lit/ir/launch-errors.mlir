// RUN: moec-opt %s -verify-diagnostics -split-input-file

// (C1)
func.func @case(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{'moe.launch' op (C1) router needs k, columns and config}}
  %0 = moe.launch router(%x, %x) {k = 8 : i64, columns = 4 : i64} : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @case(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{(C1) down needs k, columns and config}}
  %0 = moe.launch down(%x, %x, %x) {k = 8 : i64, config = #moe.cpu_config<isa = "avx2", compute = "f32", rows = [4, 1]>} : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @case(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{(C1) shared_down needs k, columns and config}}
  %0 = moe.launch shared_down(%x, %x) {columns = 8 : i64, config = #moe.cpu_config<isa = "avx2", compute = "f32", rows = [4, 1]>} : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @case(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{(C1) store has no k, columns or config}}
  %0 = moe.launch store(%x) {k = 8 : i64} : (tensor<?x8xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @case(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{(C1) route has no k, columns or config}}
  %0:2 = moe.launch route(%x) {spec = {}, columns = 8 : i64} : (tensor<?x8xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>)
  return
}

// -----

func.func @case(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{(C1) dispatch has no k, columns or config}}
  %0:3 = moe.launch dispatch(%x, %x, %x) {spec = {}, config = #moe.cpu_config<isa = "avx2", compute = "f32", rows = [4, 1]>} : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>)
  return
}

// -----

func.func @case(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{(C1) k and columns are in 1..268435456, but they are 0 and 8}}
  %0 = moe.launch router(%x, %x) {k = 0 : i64, columns = 8 : i64, config = #moe.cpu_config<isa = "avx2", compute = "f32", rows = [4, 1]>} : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @case(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{(C1) k and columns are in 1..268435456, but they are 8 and -1}}
  %0 = moe.launch router(%x, %x) {k = 8 : i64, columns = -1 : i64, config = #moe.cpu_config<isa = "avx2", compute = "f32", rows = [4, 1]>} : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return
}

// -----

// (C2)
func.func @case(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{(C2) the activation takes two f32 arguments}}
  %0 = moe.launch gate_up(%x, %x, %x) {k = 8 : i64, columns = 8 : i64, config = #moe.cpu_config<isa = "avx2", compute = "f32", rows = [4, 1]>} : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @case(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{(C2) the activation takes two f32 arguments}}
  %0 = moe.launch shared_gate_up(%x, %x, %x) {k = 8 : i64, columns = 8 : i64, config = #moe.cpu_config<isa = "avx2", compute = "f32", rows = [4, 1]>} : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32> activation {
  ^bb0(%g: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{(C2) the activation holds 'arith.extf'}}
  %0 = moe.launch gate_up(%x, %x, %x) {k = 8 : i64, columns = 8 : i64, config = #moe.cpu_config<isa = "avx2", compute = "f32", rows = [4, 1]>} : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32> activation {
  ^bb0(%g: f32, %u: f32):
    %0 = arith.extf %g : f32 to f64
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{(C2) store has no activation}}
  %0 = moe.launch store(%x) : (tensor<?x8xf32>) -> tensor<?x8xf32> activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

// (C3)
func.func @case(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{(C3) store takes 1 inputs and 0 optional ones and gives 1, but it has 0 and 1}}
  %0 = moe.launch store() : () -> tensor<?x8xf32>
  return
}

// -----

func.func @case(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{(C3) router takes 2 inputs and 1 optional ones and gives 1, but it has 4 and 1}}
  %0 = moe.launch router(%x, %x, %x, %x) {k = 8 : i64, columns = 8 : i64, config = #moe.cpu_config<isa = "avx2", compute = "f32", rows = [4, 1]>} : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @case(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{(C3) shared_down takes 2 inputs and 2 optional ones and gives 1, but it has 3 and 1}}
  %0 = moe.launch shared_down(%x, %x, %x) {k = 8 : i64, columns = 8 : i64, config = #moe.cpu_config<isa = "avx2", compute = "f32", rows = [4, 1]>} : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @case(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{(C3) down takes 3 inputs and 1 optional ones and gives 1, but it has 3 and 2}}
  %0:2 = moe.launch down(%x, %x, %x) {k = 8 : i64, columns = 8 : i64, config = #moe.cpu_config<isa = "avx2", compute = "f32", rows = [4, 1]>} : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>)
  return
}

// -----

func.func @case(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{(C3) route takes 1 inputs and 1 optional ones and gives 2, but it has 1 and 1}}
  %0 = moe.launch route(%x) {spec = {}} : (tensor<?x8xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @case(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{(C3) gate_up takes 3 inputs}}
  %0 = moe.launch gate_up(%x, %x) {k = 8 : i64, columns = 8 : i64, config = #moe.cpu_config<isa = "avx2", compute = "f32", rows = [4, 1]>} : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32> activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{(C3) shared_gate_up takes 3 inputs}}
  %0 = moe.launch shared_gate_up(%x, %x) {k = 8 : i64, columns = 8 : i64, config = #moe.cpu_config<isa = "avx2", compute = "f32", rows = [4, 1]>} : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32> activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{(C3) dispatch takes 3 inputs and 0 optional ones and gives 3, but it has 3 and 0}}
  moe.launch dispatch(%x, %x, %x) {spec = {}} : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>) -> ()
  return
}

// -----

func.func @case(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{(C3) dispatch needs a spec}}
  %0:3 = moe.launch dispatch(%x, %x, %x) : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>)
  return
}

// -----

func.func @case(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{(C3) route needs a spec}}
  %0:2 = moe.launch route(%x) : (tensor<?x8xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>)
  return
}

// -----

func.func @case(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{(C3) store has no spec}}
  %0 = moe.launch store(%x) {spec = {}} : (tensor<?x8xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @case() {
  // expected-error @+1 {{requires attribute 'kind'}}
  "moe.launch"() ({}) : () -> ()
  return
}

// -----

func.func @case(%x: tensor<*xf32>) {
  // expected-error @+1 {{operand #0 must be variadic of ranked tensor of any type values}}
  %0 = moe.launch store(%x) : (tensor<*xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @case(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{(C3) down takes 4 inputs and 1 optional ones and gives 1, but it has 3 and 1}}
  %0 = moe.launch down(%x, %x, %x) {biased, k = 8 : i64, columns = 8 : i64, config = #moe.cpu_config<isa = "avx2", compute = "f32", rows = [4, 1]>} : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @case(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{(C3) gate_up takes 5 inputs and 0 optional ones and gives 1, but it has 4 and 1}}
  %0 = moe.launch gate_up(%x, %x, %x, %x) {biased, k = 8 : i64, columns = 8 : i64, config = #moe.cpu_config<isa = "avx2", compute = "f32", rows = [4, 1]>} : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32> activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

// (C4)
func.func @case(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{(C4) shared_down is not biased}}
  %0 = moe.launch shared_down(%x, %x) {biased, k = 8 : i64, columns = 8 : i64, config = #moe.cpu_config<isa = "avx2", compute = "f32", rows = [4, 1]>} : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @case(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{(C4) store is not biased}}
  %0 = moe.launch store(%x) {biased} : (tensor<?x8xf32>) -> tensor<?x8xf32>
  return
}

// -----

// (C5)
func.func @case(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{(C5) down has no weight on its input}}
  %0 = moe.launch down(%x, %x, %x) {weight_on_input, k = 8 : i64, columns = 8 : i64, config = #moe.cpu_config<isa = "avx2", compute = "f32", rows = [4, 1]>} : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return
}

// -----

// (C6)
func.func @case(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{(C6) store has no shared expert joined}}
  %0 = moe.launch store(%x) {joined} : (tensor<?x8xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @case(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{(C6) a shared expert joins none that have biases or weights on their input}}
  %0 = moe.launch down(%x, %x, %x, %x, %x) {biased, joined, k = 8 : i64, columns = 8 : i64, config = #moe.cpu_config<isa = "avx2", compute = "f32", rows = [4, 1]>} : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @case(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{(C3) gate_up takes 5 inputs and 0 optional ones and gives 1, but it has 3 and 1}}
  %0 = moe.launch gate_up(%x, %x, %x) {joined, k = 8 : i64, columns = 8 : i64, config = #moe.cpu_config<isa = "avx2", compute = "f32", rows = [4, 1]>} : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32> activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

// What the sums begin with is the joined expert's rows: there is no init, but the shared router and what it scores.
func.func @case(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{(C3) down takes 4 inputs and 2 optional ones and gives 1, but it has 5 and 1}}
  %0 = moe.launch down(%x, %x, %x, %x, %x) {joined, k = 8 : i64, columns = 8 : i64, config = #moe.cpu_config<isa = "avx2", compute = "f32", rows = [4, 1]>} : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return
}
