mock_provider "oci" {}

mock_provider "oci" {
  alias = "home"

  mock_resource "oci_identity_dynamic_group" {
    defaults = { id = "made in the home region" }
  }

  mock_resource "oci_identity_policy" {
    defaults = { id = "made in the home region" }
  }
}

variables {
  region                      = "ap-mumbai-1"
  tenancy_id                  = "ocid1.tenancy.oc1..shop"
  compartment_id              = "ocid1.compartment.oc1..shop"
  availability_domains        = ["Uocm:AP-MUMBAI-1-AD-1"]
  image_id                    = "ocid1.image.oc1.ap-mumbai-1.linux"
  release                     = "bharatmart-1.0.0-x86_64.tar.gz"
  release_sha256              = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
  settings_secret_id          = "ocid1.vaultsecret.oc1.ap-mumbai-1.settings"
  database_password_secret_id = "ocid1.vaultsecret.oc1.ap-mumbai-1.password"
}

run "has_the_numbers_of_the_guide" {
  command = plan

  assert {
    condition = alltrue([
      for one in oci_autoscaling_auto_scaling_configuration.by_load :
      one.cool_down_in_seconds == 300
      && one.policies[0].capacity[0].min == 2 && one.policies[0].capacity[0].max == 10
      && one.policies[0].rules[0].metric[0].threshold[0].value == 70
      && one.policies[0].rules[1].metric[0].threshold[0].value == 30
    ])
    error_message = "Thresholds are 70 % and 30 %, from 2 to 10 instances, with a cooldown of 300 seconds."
  }

  assert {
    condition     = oci_load_balancer_backend_set.this["api-backend-set"].health_checker[0].url_path == "/api/health"
    error_message = "The load balancer asks /api/health."
  }

  assert {
    condition = [
      for one in oci_autoscaling_auto_scaling_configuration.by_clock.policies : one.execution_schedule[0].expression
    ] == ["0 30 14 ? * * *", "0 30 2 ? * * *"]
    error_message = "The workers' schedule is 08:00 and 20:00 in India."
  }
}

run "installs_each_layer" {
  command = plan

  assert {
    condition = alltrue([
      for name, one in oci_core_instance_configuration.this :
      strcontains(base64decode(one.instance_details[0].launch_details[0].metadata.user_data), "role='${local.layers[name].role}'")
    ])
    error_message = "The first boot does not know its role."
  }
}

run "leads_to_https_with_a_certificate" {
  command = plan

  variables {
    certificate_id = "ocid1.certificate.oc1.ap-mumbai-1.shop"
  }

  assert {
    condition     = length(oci_load_balancer_listener.https) == 1 && oci_load_balancer_listener.http.rule_set_names == tolist(["to_https"])
    error_message = "There is no HTTPS, or HTTP leads to the shop."
  }
}

run "changes_groups_and_policies_in_the_home_region" {
  command = apply

  plan_options {
    target = [oci_identity_dynamic_group.instances, oci_identity_policy.instances]
  }

  assert {
    condition = alltrue([
      for one in [oci_identity_dynamic_group.instances, oci_identity_policy.instances] : one.id == "made in the home region"
    ])
    error_message = "Elsewhere the service refuses changes of groups and policies."
  }
}
