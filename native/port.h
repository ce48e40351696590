/**
 * One USB device behind a usbfs descriptor, as a JavaScript object.
 *
 * Numbers in, numbers out: transfer types, statuses and errors are libusb's; their names, retries and deadlines are
 * TypeScript's. The descriptor is borrowed: whoever opened it closes it, after `close`.
 *
 *   new Port(onEvents)                        onEvents(results: Int32Array, iso: Array | undefined, gone: boolean)
 *   open(fd) → error                          wraps the descriptor; a port is opened once
 *   submit(type, endpoint, setup, data, sendZlp, streamId, isoPacketBytes) → slot, or a negative error
 *   cancel(slot) → error
 *   submitChain(plan, buffers) → chain, or its results (status, bytes of each step) when it ended at once, or a negative error
 *   cancelChain(chain) → error
 *   openReads(type, endpoint, memory, slotBytes, repeatBytes) → reads, or a negative error
 *   startRead(reads, slot, bytes) → error     tellRepeats(reads, on) cancelReads(reads) closeReads(reads) → error
 *   configuration() setConfiguration(n) claimInterface(n) releaseInterface(n) setInterface(n, alt) clearHalt(endpoint)
 *   reset() allocStreams(count, endpoints) freeStreams(endpoints)   → Promise of a number
 *   hold(on)                                  while it is on the device's descriptor is not watched
 *   speed() → enum libusb_speed               close()
 *
 * `results` holds slot, status and bytes of each transfer that ended in this wake-up of the loop, in the order in which
 * they ended: one call into JavaScript for all of them. Reads (reads.h) have the slots from Reads::kFirstResult on, kMaxSlots for each. `iso` has, at the same index, status and bytes of each packet.
 * A chain that ended has one entry for each step, with slot -1 - chain (chain.h). `plan` has for each step: type,
 * endpoint, sendZlp, streamId, then `after` and `with` as step (-1: none), least and most bytes.
 */
#pragma once

#include <libusb.h>
#include <napi.h>

#include <memory>
#include <vector>

#include "chain.h"
#include "events.h"
#include "job.h"
#include "listener.h"
#include "loop_resource.h"
#include "reads.h"
#include "transfer.h"

class Port : public Napi::ObjectWrap<Port>, public LoopResource {
 public:
  static Napi::Function Define(Napi::Env env);
  explicit Port(const Napi::CallbackInfo& info);

  /** More in flight than this is refused with NO_MEM: it bounds what a wake-up delivers and what is pinned. */
  static constexpr size_t kMaxInFlight = 1024;
  /** Queues of reads at a time. */
  static constexpr size_t kMaxReads = 64;

  /** A read has ended; it is told at the end of the wake-up. */
  void Note(TransferResult end);

 protected:
  void Shutdown() override { CloseDevice(); }
  void Released() override;
  void OnReady(int fd) override;

 private:
  Napi::Value OpenDevice(const Napi::CallbackInfo& info);
  Napi::Value Submit(const Napi::CallbackInfo& info);
  Napi::Value Cancel(const Napi::CallbackInfo& info);
  Napi::Value SubmitChain(const Napi::CallbackInfo& info);
  Napi::Value CancelChain(const Napi::CallbackInfo& info);
  Napi::Value OpenReads(const Napi::CallbackInfo& info);
  Napi::Value StartRead(const Napi::CallbackInfo& info);
  Napi::Value CancelReads(const Napi::CallbackInfo& info);
  Napi::Value TellRepeats(const Napi::CallbackInfo& info);
  Napi::Value CloseReads(const Napi::CallbackInfo& info);
  Napi::Value Hold(const Napi::CallbackInfo& info);
  Napi::Value Speed(const Napi::CallbackInfo& info);
  Napi::Value Close(const Napi::CallbackInfo& info);
  Napi::Value Configuration(const Napi::CallbackInfo& info);
  Napi::Value SetConfiguration(const Napi::CallbackInfo& info);
  Napi::Value ClaimInterface(const Napi::CallbackInfo& info);
  Napi::Value ReleaseInterface(const Napi::CallbackInfo& info);
  Napi::Value SetInterface(const Napi::CallbackInfo& info);
  Napi::Value ClearHalt(const Napi::CallbackInfo& info);
  Napi::Value Reset(const Napi::CallbackInfo& info);
  Napi::Value AllocStreams(const Napi::CallbackInfo& info);
  Napi::Value FreeStreams(const Napi::CallbackInfo& info);

  static void LIBUSB_CALL OnTransferEnd(libusb_transfer* usb);
  int Wrap(int fd);
  Napi::Value Blocking(Napi::Env env, BlockingCall call);
  /** As `Blocking`, for calls that take transfers in flight off the bus: begins a new era. */
  Napi::Value Voiding(Napi::Env env, BlockingCall call);
  bool DeviceHungUp() const;
  void Reclassify();
  Transfer* TakeSlot();
  /** The open queue of reads that the first argument names; null: there is none. */
  Reads* FindReads(const Napi::CallbackInfo& info);
  Chain* TakeChain();
  int PrepareChain(Chain* chain, std::vector<ChainRequest>& requests);
  void EndChain(Chain* chain, std::vector<TransferResult>* results);
  void Classify(TransferResult* end, bool hung_up) const;
  bool Busy() const;
  bool OnlyChainsInFlight() const;
  void CloseDevice();
  void CloseHandleWhenIdle();
  void Deliver(bool gone);

  UsbEvents events_{this};
  libusb_device_handle* device_ = nullptr;
  Listener on_events_;
  std::vector<std::unique_ptr<Transfer>> transfers_;
  std::vector<int32_t> free_slots_;
  std::vector<std::unique_ptr<Chain>> chains_;
  std::vector<int32_t> free_chains_;
  std::vector<std::unique_ptr<Reads>> reads_;
  std::vector<TransferResult> ended_;
  /** Transfers that have ended since the port was opened. */
  size_t completions_ = 0;
  unsigned jobs_ = 0;
  uint32_t era_ = 0;
  int fd_ = -1;
  bool opened_ = false;
  bool closing_ = false;
  bool gone_reported_ = false;
};
