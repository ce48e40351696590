#include "port.h"

#include <poll.h>

#include <algorithm>
#include <utility>

#include "arguments.h"

namespace {
/** A cancelled URB is killed before the ioctl returns, so that draining needs one round; the rest is for a lost race. */
constexpr int kMaxDrainRounds = 100;
constexpr int kDrainRoundMs = 10;
/**
 * How long the next completion of a chain is waited for before going back to the loop, after how many deliveries it is asked
 * whether anybody else waits there, and after how many the loop has its turn in any case: for its timers. Going to the loop and coming
 * back costs as much as a short transfer takes.
 */
constexpr int kChainWaitMs = 1;
constexpr int kDeliveriesAtOnce = 2;
constexpr int kMaxDeliveries = 16;

bool ReadIsoPackets(const Napi::CallbackInfo& info, size_t index, std::vector<unsigned>* packets) {
  if (info[index].IsUndefined()) return true;
  if (!info[index].IsTypedArray() || info[index].As<Napi::TypedArray>().TypedArrayType() != napi_uint32_array) {
    Napi::TypeError::New(info.Env(), "isoPacketBytes must be a Uint32Array").ThrowAsJavaScriptException();
    return false;
  }
  const auto array = info[index].As<Napi::Uint32Array>();
  // One too many is enough for Prepare to refuse; no more is copied from an array of any length.
  const size_t count = std::min(array.ElementLength(), Transfer::kMaxIsoPackets + 1);
  packets->assign(array.Data(), array.Data() + count);
  return true;
}

/** Bulk and interrupt: `asked_bytes` of the others is 0. */
bool IsCutShort(const TransferResult& end) {
  return end.status == LIBUSB_TRANSFER_COMPLETED && end.actual_bytes < end.asked_bytes;
}

bool IsDoubtful(const TransferResult& end) { return IsCutShort(end) || end.status == LIBUSB_TRANSFER_NO_DEVICE; }
}  // namespace

Port::Port(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Port>(info), LoopResource(info.Env()) {
  Napi::Function on_events;
  if (!ReadFunction(info, 0, "onEvents", &on_events)) return;
  on_events_.Set(on_events, "rumpusb.port");
}

Napi::Value Port::OpenDevice(const Napi::CallbackInfo& info) {
  int fd = -1;
  if (!ReadInt(info, 0, "fd", &fd)) return {};
  if (opened_) {
    Napi::Error::New(info.Env(), "this port has been opened before").ThrowAsJavaScriptException();
    return {};
  }
  if (fd < 0) return Napi::Number::New(info.Env(), LIBUSB_ERROR_INVALID_PARAM);
  if (!Open()) return Napi::Number::New(info.Env(), LIBUSB_ERROR_NO_MEM);
  opened_ = true;
  Ref();  // an open port lives until it is closed, whoever forgets it
  const int rc = Wrap(fd);
  if (rc != LIBUSB_SUCCESS) CloseDevice();
  return Napi::Number::New(info.Env(), rc);
}

int Port::Wrap(int fd) {
  int rc = events_.Start();
  if (rc != LIBUSB_SUCCESS) return rc;
  fd_ = fd;
  events_.SetDevice(fd);
  rc = libusb_wrap_sys_device(events_.context(), fd, &device_);
  if (rc != LIBUSB_SUCCESS) {
    device_ = nullptr;
    return rc;
  }
  return events_.DeviceDropped() ? LIBUSB_ERROR_IO : LIBUSB_SUCCESS;
}

Transfer* Port::TakeSlot() {
  if (free_slots_.empty()) {
    if (transfers_.size() == kMaxInFlight) return nullptr;
    transfers_.push_back(std::make_unique<Transfer>(static_cast<int32_t>(transfers_.size()), this));
    return transfers_.back().get();
  }
  const int32_t slot = free_slots_.back();
  free_slots_.pop_back();
  return transfers_[slot].get();
}

Napi::Value Port::Submit(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  TransferRequest request;
  if (!ReadInt(info, 0, "type", &request.type) || !ReadInt(info, 1, "endpoint", &request.endpoint)) return {};
  request.has_setup = !info[2].IsUndefined();
  if (request.has_setup && !ReadBytes(info, 2, "setup", &request.setup)) return {};
  if (!ReadBytes(info, 3, "data", &request.data) || !ReadBool(info, 4, "sendZlp", &request.send_zlp) ||
      !ReadInt(info, 5, "streamId", &request.stream_id) || !ReadIsoPackets(info, 6, &request.iso_packet_bytes))
    return {};
  if (device_ == nullptr || closing_ || gone_reported_) return Napi::Number::New(env, LIBUSB_ERROR_NO_DEVICE);

  Transfer* transfer = TakeSlot();
  if (transfer == nullptr) return Napi::Number::New(env, LIBUSB_ERROR_NO_MEM);
  int rc = transfer->Prepare(device_, request, OnTransferEnd);
  if (rc == LIBUSB_SUCCESS) rc = transfer->Start(era_);
  if (rc != LIBUSB_SUCCESS) {
    free_slots_.push_back(transfer->slot());
    return Napi::Number::New(env, rc);
  }
  return Napi::Number::New(env, transfer->slot());
}

Napi::Value Port::Cancel(const Napi::CallbackInfo& info) {
  int slot = -1;
  if (!ReadInt(info, 0, "slot", &slot)) return {};
  if (slot < 0 || static_cast<size_t>(slot) >= transfers_.size())
    return Napi::Number::New(info.Env(), LIBUSB_ERROR_NOT_FOUND);
  return Napi::Number::New(info.Env(), transfers_[slot]->Cancel());
}

/** Runs inside UsbEvents::Handle, on the JavaScript thread: notes what ended, and lets its chain go on. */
void LIBUSB_CALL Port::OnTransferEnd(libusb_transfer* usb) {
  auto* transfer = static_cast<Transfer*>(usb->user_data);
  Port* port = transfer->port();
  TransferResult end = transfer->Finish();
  port->completions_++;
  Chain* chain = transfer->chain();
  if (chain == nullptr) {
    port->ended_.push_back(std::move(end));
    port->free_slots_.push_back(transfer->slot());
    return;
  }
  // A step decides about the next one now, not at the end of the wake-up.
  if (IsDoubtful(end)) port->Classify(&end, port->DeviceHungUp());
  chain->Ended(transfer, end, port->era_);
  if (chain->Over()) port->EndChain(chain, &port->ended_);
}

/**
 * Handles what is ready and tells JavaScript. While only chains are in flight the next completion is near, and is waited for
 * here: the loop is left alone for a bounded time.
 */
void Port::OnReady(int) {
  const Napi::HandleScope scope(Env());
  int wait_ms = 0;
  for (int deliveries = 0; !closing_ && deliveries < kMaxDeliveries;) {
    const size_t before = completions_;
    const int rc = events_.Handle(wait_ms);
    // A context that fails to handle events would be ready for ever: without its completions the device is as good as gone.
    if (rc != LIBUSB_SUCCESS && rc != LIBUSB_ERROR_INTERRUPTED && rc != LIBUSB_ERROR_BUSY) events_.DropDevice();
    const bool gone = events_.DeviceDropped() && !gone_reported_;
    gone_reported_ = gone_reported_ || gone;
    if (!ended_.empty()) Reclassify();
    const bool told = gone || !ended_.empty();
    if (told) {
      Deliver(gone);
      deliveries++;
    }
    const bool idled = wait_ms > 0 && completions_ == before;
    if (idled || gone_reported_ || !OnlyChainsInFlight()) return;
    const bool looks = told && deliveries % kDeliveriesAtOnce == 0;
    if (looks && LoopHasEvents()) return;
    wait_ms = kChainWaitMs;
  }
}

void Port::Note(TransferResult end) {
  completions_++;
  ended_.push_back(std::move(end));
}

bool Port::Busy() const {
  if (std::any_of(reads_.begin(), reads_.end(), [](const auto& reads) { return reads->in_flight(); })) return true;
  return std::any_of(transfers_.begin(), transfers_.end(), [](const auto& transfer) { return transfer->in_flight(); });
}

/** A step is in flight, and no transfer that JavaScript waits for on its own. */
bool Port::OnlyChainsInFlight() const {
  bool any = false;
  if (std::any_of(reads_.begin(), reads_.end(), [](const auto& reads) { return reads->in_flight(); })) return false;
  for (const auto& transfer : transfers_) {
    if (!transfer->in_flight()) continue;
    if (transfer->chain() == nullptr) return false;
    any = true;
  }
  return any;
}

bool Port::DeviceHungUp() const {
  pollfd state = {fd_, 0, 0};
  return events_.DeviceDropped() || (poll(&state, 1, 0) > 0 && (state.revents & (POLLHUP | POLLERR)) != 0);
}

/**
 * Tells apart what libusb cannot. usbfs kills the URBs of an interface that is released, reset or unplugged; libusb, which
 * did not ask for it, takes a killed bulk URB for a short transfer that went well. And an endpoint that is disabled by
 * another configuration or alternate setting looks to it like a device that has gone.
 */
void Port::Classify(TransferResult* end, bool hung_up) const {
  const bool cut_short = IsCutShort(*end);
  const bool voided = end->era != era_ && (end->status == LIBUSB_TRANSFER_NO_DEVICE ||
                                           (cut_short && end->actual_bytes == 0));
  if (hung_up && cut_short) end->status = LIBUSB_TRANSFER_NO_DEVICE;
  if (!hung_up && voided) end->status = LIBUSB_TRANSFER_CANCELLED;
}

/** Steps of chains were looked at when they ended. */
void Port::Reclassify() {
  if (std::none_of(ended_.begin(), ended_.end(), IsDoubtful)) return;
  const bool hung_up = DeviceHungUp();
  for (TransferResult& end : ended_) Classify(&end, hung_up);
}

void Port::Deliver(bool gone) {
  const napi_env env = Env();
  const std::vector<TransferResult> ended = std::exchange(ended_, {});
  std::vector<int32_t> results;
  results.reserve(ended.size() * 3);
  napi_value iso = Env().Undefined();
  bool has_iso = false;
  for (size_t i = 0; i < ended.size(); i++) {
    results.insert(results.end(), {ended[i].slot, ended[i].status, ended[i].actual_bytes});
    if (ended[i].iso.empty()) continue;
    if (!has_iso && napi_create_array_with_length(env, ended.size(), &iso) != napi_ok) return;
    has_iso = true;
    const napi_value packets = NewInt32Array(env, ended[i].iso);
    if (packets == nullptr || napi_set_element(env, iso, static_cast<uint32_t>(i), packets) != napi_ok) return;
  }
  on_events_.Call(env, {NewInt32Array(env, results), iso, Napi::Boolean::New(env, gone)});
}

Napi::Value Port::Speed(const Napi::CallbackInfo& info) {
  const int speed = device_ == nullptr ? LIBUSB_SPEED_UNKNOWN : libusb_get_device_speed(libusb_get_device(device_));
  return Napi::Number::New(info.Env(), speed);
}

Napi::Value Port::Hold(const Napi::CallbackInfo& info) {
  bool on = false;
  if (ReadBool(info, 0, "on", &on) && !closing_) events_.Hold(on);
  return info.Env().Undefined();
}

Napi::Value Port::Close(const Napi::CallbackInfo& info) {
  CloseDevice();
  return info.Env().Undefined();
}

/** Ends what is in flight without telling anyone, and lets go of the device. Idempotent. */
void Port::CloseDevice() {
  if (!opened_ || closing_) return;
  closing_ = true;
  if (device_ != nullptr) {
    const Napi::HandleScope scope(Env());
    for (const auto& chain : chains_) chain->Cancel();
    for (const auto& transfer : transfers_) transfer->Cancel();
    for (const auto& reads : reads_) reads->Cancel();
    for (int round = 0; Busy() && round < kMaxDrainRounds; round++) events_.Handle(kDrainRoundMs);
  }
  ended_.clear();
  CloseHandleWhenIdle();
}

/** A blocking call on the pool still uses the handle: the last one closes it. */
void Port::CloseHandleWhenIdle() {
  if (!closing_ || jobs_ > 0) return;
  if (device_ != nullptr) libusb_close(device_);
  device_ = nullptr;
  chains_.clear();
  free_chains_.clear();
  transfers_.clear();
  reads_.clear();
  free_slots_.clear();
  events_.Stop();
  Unpin();
}

void Port::Released() {
  // The callback's closure holds this object: without this neither would ever be collected.
  on_events_.Release();
  Unref();
}

Napi::Value Port::Blocking(Napi::Env env, BlockingCall call) {
  if (device_ == nullptr || closing_ || gone_reported_) {
    auto deferred = Napi::Promise::Deferred::New(env);
    deferred.Resolve(Napi::Number::New(env, LIBUSB_ERROR_NO_DEVICE));
    return deferred.Promise();
  }
  jobs_++;
  return RunBlocking(env, this, device_, std::move(call), [this] {
    jobs_--;
    CloseHandleWhenIdle();
  });
}

Napi::Value Port::Voiding(Napi::Env env, BlockingCall call) {
  era_++;
  return Blocking(env, std::move(call));
}
