#include "chain.h"

#include <algorithm>

bool Chain::IsValid(const std::vector<ChainRequest>& requests) {
  if (requests.empty() || requests.size() > kMaxSteps) return false;
  const auto names_earlier = [](const ChainCondition& condition, size_t index) {
    return condition.step >= -1 && condition.step < static_cast<int>(index);
  };
  for (size_t i = 0; i < requests.size(); i++) {
    const ChainRequest& request = requests[i];
    if (!names_earlier(request.after, i) || !names_earlier(request.with, i)) return false;
    if (request.with.step >= 0 && requests[request.with.step].after.step >= 0) return false;
  }
  return requests[0].after.step < 0;
}

void Chain::Add(Transfer* transfer, const ChainRequest& request) {
  transfer->JoinChain(this);
  steps_.push_back(Step{transfer, request.after, request.with});
}

void Chain::Begin(uint32_t era) {
  era_ = era;
  stopped_ = false;
  for (size_t i = 0; i < steps_.size(); i++)
    if (steps_[i].after.step < 0 && steps_[i].state == State::kWaiting && !steps_[i].dropped) Submit(i);
}

void Chain::Ended(const Transfer* transfer, const TransferResult& result, uint32_t era) {
  const auto found =
      std::find_if(steps_.begin(), steps_.end(), [&](const Step& step) { return step.transfer == transfer; });
  if (found == steps_.end()) return;
  found->state = State::kEnded;
  found->status = result.status;
  found->actual_bytes = result.actual_bytes;
  if (era != era_) Cancel();
  if (!stopped_) Follow(static_cast<size_t>(found - steps_.begin()));
}

void Chain::Cancel() {
  stopped_ = true;
  // What was queued behind a transfer must not take its place on the bus.
  for (auto step = steps_.rbegin(); step != steps_.rend(); ++step)
    if (step->state == State::kInFlight) step->transfer->Cancel();
}

bool Chain::Over() const {
  return std::none_of(steps_.begin(), steps_.end(), [](const Step& step) { return step.state == State::kInFlight; });
}

void Chain::Report(std::vector<TransferResult>* results, std::vector<int32_t>* free_slots) {
  for (const Step& step : steps_) {
    results->push_back(TransferResult{-1 - slot_, step.status, step.actual_bytes, 0, era_, {}});
    step.transfer->LeaveChain();
    free_slots->push_back(step.transfer->slot());
  }
  steps_.clear();
}

bool Chain::Fulfils(const Step& step, const ChainCondition& condition) {
  return step.status == LIBUSB_TRANSFER_COMPLETED && step.actual_bytes >= condition.min_bytes &&
         step.actual_bytes <= condition.max_bytes;
}

void Chain::Submit(size_t index) {
  Step& step = steps_[index];
  const int rc = step.transfer->Start(era_);
  step.state = rc == LIBUSB_SUCCESS ? State::kInFlight : State::kEnded;
  if (rc == LIBUSB_SUCCESS) return;
  step.status = rc;
  Follow(index);
}

/** Steps depend on earlier ones only, so that this ends. */
void Chain::Follow(size_t index) {
  const auto follows = [&](const ChainCondition& condition) { return condition.step == static_cast<int>(index); };
  for (auto step = steps_.rbegin(); step != steps_.rend(); ++step) {
    if (!follows(step->with) || Fulfils(steps_[index], step->with)) continue;
    step->dropped = true;
    if (step->state == State::kInFlight) step->transfer->Cancel();
  }
  for (size_t i = index + 1; i < steps_.size(); i++)
    if (follows(steps_[i].after) && !steps_[i].dropped && Fulfils(steps_[index], steps_[i].after)) Submit(i);
}
