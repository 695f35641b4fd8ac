// Giving up privileges, for the command; the library never does.
#include "io/privileges.h"

#include "node/addon.h"

namespace gwlb::node {
namespace {

constexpr size_t kUserNameBytesMax = 255;

// A name, or '' for nobody else.
napi_value limit_privileges(const Napi::CallbackInfo& info) {
  const napi_env env = info.Env();
  io::Privileges privileges;
  std::string user;
  if (!read_bigint(env, info[0], "capabilities", &privileges.capabilities) ||
      !read_text(env, info[1], "user", kUserNameBytesMax, &user) ||
      !read_bigint(env, info[2], "inherited", &privileges.inherited)) {
    return nullptr;
  }
  io::OsError error;
  if (!user.empty()) error = io::find_user(user, &privileges);
  if (error.ok()) error = io::limit_privileges(privileges);
  if (!error.ok()) throw_system_error(env, error);
  return nullptr;
}

}  // namespace

void add_privilege_functions(napi_env env, ObjectBuilder& exports) {
  exports.value("limitPrivileges", plain_function<limit_privileges>(env, "limitPrivileges"));
}

}  // namespace gwlb::node
