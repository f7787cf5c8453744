#include "tests/emulation/machine/Shadow.h"

#include <algorithm>

namespace moec::emulation {

void Shadow::reset(uint32_t bytes) {
  const size_t count = (bytes + granuleBytes - 1) / granuleBytes;
  if (count != granules.size()) {
    granules.assign(count, {});
    dirty.assign(count / pageGranules + 1, false);
  } else {
    for (size_t page = 0; page < dirty.size(); ++page)
      if (dirty[page]) {
        const size_t first = page * pageGranules, last = std::min(first + pageGranules, count);
        std::fill(granules.begin() + first, granules.begin() + last, Granule{});
        dirty[page] = false;
      }
  }
  users.resize(1);
  freeUsers.clear();
}

void Shadow::setWritten(uint32_t offset, uint32_t bytes) {
  for (uint32_t i = offset / granuleBytes; i < (offset + bytes + granuleBytes - 1) / granuleBytes; ++i) {
    granules[i].written = granules[i].recent = true;
    dirty[i / pageGranules] = true;
  }
}

template <class Holds> bool Shadow::all(uint32_t offset, uint32_t bytes, Holds holds) const {
  const auto begin = granules.begin() + offset / granuleBytes,
             end = granules.begin() + (offset + bytes + granuleBytes - 1) / granuleBytes;
  return std::all_of(begin, end, holds);
}

bool Shadow::isWritten(uint32_t offset, uint32_t bytes) const {
  return all(offset, bytes, [](const Granule &granule) { return granule.written; });
}

bool Shadow::isOld(uint32_t offset, uint32_t bytes) const {
  return all(offset, bytes, [](const Granule &granule) { return granule.old; });
}

bool Shadow::isIdle(uint32_t offset, uint32_t bytes) const {
  return all(offset, bytes, [](const Granule &granule) { return granule.idle; });
}

void Shadow::settle(bool early) {
  const auto isAtomic = [](const Epoch &user) { return user.atomic != 0; };
  for (Granule &granule : granules) {
    const std::vector<Epoch> &more = users[granule.more]; // none where it is 0
    const bool changed = granule.recent || granule.write.time != 0 || isAtomic(granule.user) ||
                         std::any_of(more.begin(), more.end(), isAtomic);
    const bool touched = changed || granule.user.time != 0 || !more.empty();
    granule = {.write = {},
               .user = {},
               .more = 0,
               .written = granule.written,
               .recent = false,
               .old = granule.written && !changed && (!early || granule.old),
               .idle = !touched && (!early || granule.idle)};
  }
  users.resize(1);
  freeUsers.clear();
}

/// A reader or atomic of the granule that is not known to the actor and must be.
const Epoch *Shadow::unknownUser(const Granule &granule, Use use, const Actor &actor) const {
  const auto matters = [&](const Epoch &user) {
    if (use == Use::Read && !user.atomic) // two readers
      return false;
    if (use == Use::Atomic && user.atomic)
      return false;
    return !known(user, *actor.reads, actor);
  };
  if (matters(granule.user))
    return &granule.user;
  if (granule.more)
    for (const Epoch &user : users[granule.more])
      if (matters(user))
        return &user;
  return nullptr;
}

void Shadow::dropUsers(Granule &granule) {
  granule.user = {};
  if (granule.more) {
    users[granule.more].clear();
    freeUsers.push_back(granule.more);
    granule.more = 0;
  }
}

void Shadow::addUser(Granule &granule, const Actor &actor) {
  const auto replaces = [&](const Epoch &old) {
    return old.time == 0 ||
           (old.agent == actor.epoch.agent && old.block == actor.epoch.block && old.atomic == actor.epoch.atomic);
  };
  if (replaces(granule.user) || (!granule.more && known(granule.user, *actor.reads, actor))) {
    granule.user = actor.epoch;
    return;
  }
  if (!granule.more) {
    if (freeUsers.empty()) {
      granule.more = static_cast<uint32_t>(users.size());
      users.emplace_back();
    } else {
      granule.more = freeUsers.back();
      freeUsers.pop_back();
    }
  }
  for (Epoch &user : users[granule.more])
    if (replaces(user)) {
      user = actor.epoch;
      return;
    }
  users[granule.more].push_back(actor.epoch);
}

bool Shadow::isSeen(uint32_t offset, uint32_t bytes, const Actor &actor) const {
  return all(offset, bytes,
             [&](const Granule &granule) { return granule.written && known(granule.write, *actor.writes, actor); });
}

std::optional<Conflict> Shadow::touch(uint32_t offset, uint32_t bytes, Use use, const Actor &by) {
  Actor actor = by;
  actor.epoch.atomic = use == Use::Atomic;
  for (uint32_t i = offset / granuleBytes; i < (offset + bytes + granuleBytes - 1) / granuleBytes; ++i) {
    Granule &granule = granules[i];
    dirty[i / pageGranules] = true;
    if (use != Use::Write && !granule.written)
      return Conflict{true, {}, false, i * granuleBytes};
    if (!known(granule.write, *actor.writes, actor))
      return Conflict{false, granule.write, true, i * granuleBytes};
    if (const Epoch *user = unknownUser(granule, use, actor))
      return Conflict{false, *user, user->atomic != 0, i * granuleBytes};
    if (use == Use::Write) {
      dropUsers(granule);
      granule.write = actor.epoch;
      granule.written = true;
    } else {
      addUser(granule, actor);
    }
  }
  return {};
}

} // namespace moec::emulation
