// Graphs, and the objects that they keep alive.
#include "tests/unit/cuda/FakeDriver.h"

namespace moec::test {
namespace {

void release(FakeUserObject *object) {
  if (--object->references > 0)
    return;
  object->destroy(object->pointer);
  fake().freed(object);
  delete object;
}
void destroyGraph(FakeGraph *graph) {
  for (FakeUserObject *object : graph->kept)
    release(object);
  fake().freed(graph);
  delete graph;
}
CUresult fakeGraphInstantiate(CUgraphExec *exec, CUgraph graph, unsigned long long) {
  CALLED("cuGraphInstantiateWithFlags");
  auto *made = new FakeGraph(*reinterpret_cast<FakeGraph *>(graph));
  for (FakeUserObject *object : made->kept)
    ++object->references;
  fake().made(made);
  *exec = reinterpret_cast<CUgraphExec>(made);
  return CUDA_SUCCESS;
}
CUresult fakeGraphDestroy(CUgraph graph) {
  fake().called("cuGraphDestroy", true);
  destroyGraph(reinterpret_cast<FakeGraph *>(graph));
  return CUDA_SUCCESS;
}
CUresult fakeGraphExecDestroy(CUgraphExec exec) {
  fake().called("cuGraphExecDestroy", true);
  destroyGraph(reinterpret_cast<FakeGraph *>(exec));
  return CUDA_SUCCESS;
}
CUresult fakeGraphUpload(CUgraphExec, CUstream) {
  CALLED("cuGraphUpload");
  return CUDA_SUCCESS;
}
CUresult fakeGraphLaunch(CUgraphExec exec, CUstream) {
  CALLED("cuGraphLaunch");
  for (const auto &work : reinterpret_cast<FakeGraph *>(exec)->work)
    work();
  return CUDA_SUCCESS;
}
CUresult fakeUserObjectCreate(CUuserObject *object, void *pointer, CUhostFn destroy, unsigned references, unsigned) {
  CALLED("cuUserObjectCreate");
  auto *made = new FakeUserObject{pointer, destroy, static_cast<int>(references)};
  fake().made(made);
  *object = reinterpret_cast<CUuserObject>(made);
  return CUDA_SUCCESS;
}
CUresult fakeUserObjectRelease(CUuserObject object, unsigned) {
  fake().called("cuUserObjectRelease", true);
  release(reinterpret_cast<FakeUserObject *>(object));
  return CUDA_SUCCESS;
}
CUresult fakeGraphRetainUserObject(CUgraph graph, CUuserObject object, unsigned, unsigned) {
  CALLED("cuGraphRetainUserObject");
  reinterpret_cast<FakeGraph *>(graph)->kept.push_back(reinterpret_cast<FakeUserObject *>(object));
  return CUDA_SUCCESS;
}

} // namespace

void fillGraphs(CudaApi &api) {
  api.cuGraphInstantiateWithFlagsFn = fakeGraphInstantiate;
  api.cuGraphDestroyFn = fakeGraphDestroy;
  api.cuGraphExecDestroyFn = fakeGraphExecDestroy;
  api.cuGraphUploadFn = fakeGraphUpload;
  api.cuGraphLaunchFn = fakeGraphLaunch;
  api.cuUserObjectCreateFn = fakeUserObjectCreate;
  api.cuUserObjectReleaseFn = fakeUserObjectRelease;
  api.cuGraphRetainUserObjectFn = fakeGraphRetainUserObject;
}

} // namespace moec::test
