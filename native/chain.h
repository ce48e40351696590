/**
 * A chain: a short list of transfers with conditions, run to its end without JavaScript.
 *
 * A step is submitted at once, or by the completion of the step it waits for, inside the same handling of libusb's
 * events. It is cancelled when the step it runs with ends in another way than its condition says. Nothing here knows
 * what the transfers mean. The owner feeds the completions of the steps' transfers in, and reports when it is over.
 */
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "transfer.h"

/** How an earlier step has to end: COMPLETED, with so many bytes. `step` -1: no condition. */
struct ChainCondition {
  int step = -1;
  int min_bytes = 0;
  int max_bytes = 0;
};

struct ChainRequest {
  TransferRequest transfer;
  ChainCondition after;
  ChainCondition with;
};

class Chain {
 public:
  explicit Chain(int32_t slot) : slot_(slot) {}
  Chain(const Chain&) = delete;
  Chain& operator=(const Chain&) = delete;

  static constexpr size_t kMaxSteps = 8;
  /** The status of a step that was never submitted. One that was refused has libusb's (negative) error. */
  static constexpr int32_t kNotStarted = 99;

  /** Every condition names an earlier step; a `with` one that starts at once; some step starts at once. */
  static bool IsValid(const std::vector<ChainRequest>& requests);

  /** Adds a step with its prepared transfer, which is the chain's until `Over`. */
  void Add(Transfer* transfer, const ChainRequest& request);
  /** Submits what starts at once. `era` is that of every step: one of another era is a surprise. */
  void Begin(uint32_t era);
  /** A transfer of this chain has ended; the steps that follow from it are submitted or cancelled. */
  void Ended(const Transfer* transfer, const TransferResult& result, uint32_t era);
  /** Cancels what is in flight, the last first, and submits no more. */
  void Cancel();
  /** Nothing is in flight and nothing will be. */
  bool Over() const;
  /** Appends status and bytes of each step, under the chain's own number; gives the transfers back. Then it is empty. */
  void Report(std::vector<TransferResult>* results, std::vector<int32_t>* free_slots);

  int32_t slot() const { return slot_; }

 private:
  enum class State { kWaiting, kInFlight, kEnded };
  struct Step {
    Transfer* transfer;
    ChainCondition after;
    ChainCondition with;
    State state = State::kWaiting;
    bool dropped = false;
    int32_t status = kNotStarted;
    int32_t actual_bytes = 0;
  };

  static bool Fulfils(const Step& step, const ChainCondition& condition);
  void Submit(size_t index);
  void Follow(size_t index);

  const int32_t slot_;
  uint32_t era_ = 0;
  bool stopped_ = false;
  std::vector<Step> steps_;
};
