package config

import (
	"fmt"
	"net/url"
	"strings"
)

// A Cloud is one of Azure's separate clouds: what differs between them.
type Cloud struct {
	Graph        string // Microsoft Graph
	ARM          string // Azure Resource Manager
	MonitorScope string // token scope of the Logs Ingestion API; azcore knows none
	Portal       string
	Authority    string // of Entra ID
}

var (
	publicCloud = Cloud{
		Graph:        "https://graph.microsoft.com",
		ARM:          "https://management.azure.com",
		MonitorScope: "https://monitor.azure.com/.default",
		Portal:       "https://portal.azure.com",
		Authority:    "https://login.microsoftonline.com/",
	}
	usGovernment = Cloud{
		Graph:        "https://graph.microsoft.us",
		ARM:          "https://management.usgovcloudapi.net",
		MonitorScope: "https://monitor.azure.us/.default",
		Portal:       "https://portal.azure.us",
		Authority:    "https://login.microsoftonline.us/",
	}
	china = Cloud{
		Graph:        "https://microsoftgraph.chinacloudapi.cn",
		ARM:          "https://management.chinacloudapi.cn",
		MonitorScope: "https://monitor.azure.cn/.default",
		Portal:       "https://portal.azure.cn",
		Authority:    "https://login.chinacloudapi.cn/",
	}
)

// CloudOf returns the cloud of AZURE_AUTHORITY_HOST, the variable by which
// azidentity itself is pointed at another cloud.
func CloudOf(authority string) (Cloud, error) {
	host := strings.ToLower(authority)
	if u, err := url.Parse(host); err == nil && u.Host != "" {
		host = u.Host
	}
	switch strings.Trim(host, "/") {
	case "", "login.microsoftonline.com":
		return publicCloud, nil
	case "login.microsoftonline.us":
		return usGovernment, nil
	case "login.chinacloudapi.cn", "login.partner.microsoftonline.cn":
		return china, nil
	}
	return publicCloud, fmt.Errorf("AZURE_AUTHORITY_HOST: %q is not the authority of a cloud that podwatch knows", authority)
}
