/** The methods of Port that run chains (chain.h). */
#include <utility>

#include "arguments.h"
#include "port.h"

namespace {
/** Numbers of one step in `plan`. */
constexpr size_t kPlanFields = 10;

ChainCondition ReadCondition(const int32_t* fields) { return {fields[0], fields[1], fields[2]}; }

bool ReadPlan(const Napi::CallbackInfo& info, std::vector<ChainRequest>* requests) {
  const bool is_plan =
      info[0].IsTypedArray() && info[0].As<Napi::TypedArray>().TypedArrayType() == napi_int32_array && info[1].IsArray();
  if (!is_plan) {
    Napi::TypeError::New(info.Env(), "submitChain takes an Int32Array and an array").ThrowAsJavaScriptException();
    return false;
  }
  const auto plan = info[0].As<Napi::Int32Array>();
  const auto buffers = info[1].As<Napi::Array>();
  const size_t count = buffers.Length();
  if (count > Chain::kMaxSteps || plan.ElementLength() < count * kPlanFields) return true;  // no step: not valid
  requests->resize(count);
  for (size_t i = 0; i < count; i++) {
    const int32_t* fields = plan.Data() + i * kPlanFields;
    ChainRequest& request = (*requests)[i];
    request.transfer.type = fields[0];
    request.transfer.endpoint = fields[1];
    request.transfer.send_zlp = fields[2] != 0;
    request.transfer.stream_id = fields[3];
    request.after = ReadCondition(fields + 4);
    request.with = ReadCondition(fields + 7);
    const Napi::Value buffer = buffers[static_cast<uint32_t>(i)];
    if (!buffer.IsTypedArray() || buffer.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
      Napi::TypeError::New(info.Env(), "a buffer of a chain must be a Uint8Array").ThrowAsJavaScriptException();
      return false;
    }
    request.transfer.data = buffer.As<Napi::Uint8Array>();
  }
  return true;
}

bool IsQueued(int type) {
  return type == LIBUSB_TRANSFER_TYPE_BULK || type == LIBUSB_TRANSFER_TYPE_INTERRUPT ||
         type == LIBUSB_TRANSFER_TYPE_BULK_STREAM;
}
}  // namespace

Chain* Port::TakeChain() {
  if (free_chains_.empty()) {
    chains_.push_back(std::make_unique<Chain>(static_cast<int32_t>(chains_.size())));
    return chains_.back().get();
  }
  const int32_t slot = free_chains_.back();
  free_chains_.pop_back();
  return chains_[slot].get();
}

/** Every step has its transfer and its pinned buffer, or none has. */
int Port::PrepareChain(Chain* chain, std::vector<ChainRequest>& requests) {
  for (ChainRequest& request : requests) {
    if (!IsQueued(request.transfer.type)) return LIBUSB_ERROR_INVALID_PARAM;
    Transfer* transfer = TakeSlot();
    if (transfer == nullptr) return LIBUSB_ERROR_NO_MEM;
    chain->Add(transfer, request);
    const int rc = transfer->Prepare(device_, request.transfer, OnTransferEnd);
    if (rc != LIBUSB_SUCCESS) return rc;
  }
  return LIBUSB_SUCCESS;
}

Napi::Value Port::SubmitChain(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  std::vector<ChainRequest> requests;
  if (!ReadPlan(info, &requests)) return {};
  if (!Chain::IsValid(requests)) return Napi::Number::New(env, LIBUSB_ERROR_INVALID_PARAM);
  if (device_ == nullptr || closing_ || gone_reported_) return Napi::Number::New(env, LIBUSB_ERROR_NO_DEVICE);

  Chain* chain = TakeChain();
  std::vector<TransferResult> results;
  const int rc = PrepareChain(chain, requests);
  if (rc != LIBUSB_SUCCESS) {
    EndChain(chain, &results);
    return Napi::Number::New(env, rc);
  }
  chain->Begin(era_);
  if (!chain->Over()) return Napi::Number::New(env, chain->slot());
  EndChain(chain, &results);
  auto ends = Napi::Int32Array::New(env, results.size() * 2);
  for (size_t i = 0; i < results.size(); i++) {
    ends[i * 2] = results[i].status;
    ends[i * 2 + 1] = results[i].actual_bytes;
  }
  return ends;
}

void Port::EndChain(Chain* chain, std::vector<TransferResult>* results) {
  chain->Report(results, &free_slots_);
  free_chains_.push_back(chain->slot());
}

Napi::Value Port::CancelChain(const Napi::CallbackInfo& info) {
  int slot = -1;
  if (!ReadInt(info, 0, "chain", &slot)) return {};
  if (slot < 0 || static_cast<size_t>(slot) >= chains_.size())
    return Napi::Number::New(info.Env(), LIBUSB_ERROR_NOT_FOUND);
  chains_[slot]->Cancel();
  return Napi::Number::New(info.Env(), LIBUSB_SUCCESS);
}
