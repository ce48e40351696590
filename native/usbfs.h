/** Calls on a usbfs descriptor, on sockets and on the process itself, without libusb. Each adds itself to the exports. */
#pragma once

#include <napi.h>

void DefineUsbfs(Napi::Env env, Napi::Object exports);
void DefineSockets(Napi::Env env, Napi::Object exports);
void DefineUevents(Napi::Env env, Napi::Object exports);
void DefineDeviceFile(Napi::Env env, Napi::Object exports);
void DefineRandom(Napi::Env env, Napi::Object exports);
void DefineLock(Napi::Env env, Napi::Object exports);
void DefineMemory(Napi::Env env, Napi::Object exports);
void DefineForget(Napi::Env env, Napi::Object exports);
void DefineIdleTime(Napi::Env env, Napi::Object exports);
void DefineReserve(Napi::Env env, Napi::Object exports);
