#include "arguments.h"

#include <cmath>
#include <string>

namespace {
bool Refuse(const Napi::CallbackInfo& info, size_t index, const char* name, const char* wanted) {
  const std::string message = "argument " + std::to_string(index) + " (" + name + ") must be " + wanted;
  Napi::TypeError::New(info.Env(), message).ThrowAsJavaScriptException();
  return false;
}
}  // namespace

bool ReadInt(const Napi::CallbackInfo& info, size_t index, const char* name, int* value) {
  static constexpr const char* kWanted = "a whole number of 32 bits";
  if (!info[index].IsNumber()) return Refuse(info, index, name, kWanted);
  const double number = info[index].As<Napi::Number>().DoubleValue();
  if (!(number >= INT32_MIN && number <= INT32_MAX) || std::floor(number) != number)
    return Refuse(info, index, name, kWanted);
  *value = static_cast<int>(number);
  return true;
}

bool ReadBool(const Napi::CallbackInfo& info, size_t index, const char* name, bool* value) {
  if (!info[index].IsBoolean()) return Refuse(info, index, name, "a boolean");
  *value = info[index].As<Napi::Boolean>().Value();
  return true;
}

bool ReadBytes(const Napi::CallbackInfo& info, size_t index, const char* name, Napi::Uint8Array* value) {
  if (!info[index].IsTypedArray() || info[index].As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array)
    return Refuse(info, index, name, "a Uint8Array");
  *value = info[index].As<Napi::Uint8Array>();
  return true;
}

bool ReadString(const Napi::CallbackInfo& info, size_t index, const char* name, std::string* value) {
  if (!info[index].IsString()) return Refuse(info, index, name, "a string");
  *value = info[index].As<Napi::String>().Utf8Value();
  return true;
}

bool ReadFunction(const Napi::CallbackInfo& info, size_t index, const char* name, Napi::Function* value) {
  if (!info[index].IsFunction()) return Refuse(info, index, name, "a function");
  *value = info[index].As<Napi::Function>();
  return true;
}
